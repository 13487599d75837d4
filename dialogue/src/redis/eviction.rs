//! The eviction policy of a server whose memory is full.

use parking_lot::Mutex;
use redis::{aio::MultiplexedConnection, cmd};

use super::reply::text;

/// Warns of a policy that evicts: once, until the policy is another.
#[derive(Debug, Default)]
pub(super) struct Eviction {
    warned_of: Mutex<Option<String>>,
}

/// The only policy that evicts nothing.
const NONE: &str = "noeviction";

impl Eviction {
    /// Asks the server at `place` for its policy. A user whose ACL lacks `INFO` is not warned.
    pub(super) async fn look(&self, place: impl std::fmt::Display, commands: &mut MultiplexedConnection) {
        let mut info = cmd("INFO");
        info.arg("memory");
        let policy = match commands.send_packed_command(&info).await {
            Ok(answer) => text(&answer).and_then(policy).map(str::to_owned),
            Err(error) => {
                tracing::debug!(%error, "Redis at {place} doesn't say whether it evicts keys");
                None
            }
        };
        let Some(policy) = policy else { return };
        let evicts = policy != NONE;
        let known = {
            let mut warned_of = self.warned_of.lock();
            let known = warned_of.as_ref() == Some(&policy);
            *warned_of = evicts.then(|| policy.clone());
            known
        };
        if evicts && !known {
            tracing::warn!(
                "Redis at {place} evicts keys when its memory is full: `maxmemory-policy` is `{policy}`, and rooms \
                 would lose their logs; set it to `{NONE}`"
            );
        }
    }
}

/// The policy in what `INFO memory` answers.
fn policy(info: &str) -> Option<&str> {
    info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_one_line_of_many() {
        assert_eq!(
            policy("# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\nx:1\r\n"),
            Some("allkeys-lru")
        );
        assert_eq!(policy("# Memory\r\nmaxmemory:0\r\n"), None);
    }
}
