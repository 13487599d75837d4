//! A check of the server's `maxmemory-policy`: a server that evicts keys when its memory is full would lose logs.

use parking_lot::Mutex;
use redis::{aio::MultiplexedConnection, cmd};

use crate::command::reply::text;

/// Logs a warning if a server's policy evicts keys, once until the policy changes.
#[derive(Debug, Default)]
pub(super) struct EvictionCheck {
    warned_policy: Mutex<Option<String>>,
}

/// The only policy that evicts nothing.
const NO_EVICTION: &str = "noeviction";

impl EvictionCheck {
    /// Reads the policy of the server at `target`. Nothing is logged for a user whose ACL doesn't allow `INFO`.
    pub(super) async fn check(&self, target: impl std::fmt::Display, commands: &mut MultiplexedConnection) {
        let mut info = cmd("INFO");
        info.arg("memory");
        let policy = match commands.send_packed_command(&info).await {
            Ok(reply) => text(&reply).and_then(policy).map(str::to_owned),
            Err(error) => {
                tracing::debug!(%error, "can't read the eviction policy of Redis at {target}");
                None
            }
        };
        let Some(policy) = policy else { return };
        let evicts = policy != NO_EVICTION;
        let already_warned = {
            let mut warned_policy = self.warned_policy.lock();
            let already_warned = warned_policy.as_ref() == Some(&policy);
            *warned_policy = evicts.then(|| policy.clone());
            already_warned
        };
        if evicts && !already_warned {
            tracing::warn!(
                "Redis at {target} evicts keys when its memory is full: `maxmemory-policy` is `{policy}`, and rooms \
                 would lose their logs; set it to `{NO_EVICTION}`"
            );
        }
    }
}

/// Returns the policy in a reply to `INFO memory`.
fn policy(info: &str) -> Option<&str> {
    info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_found_among_the_lines() {
        assert_eq!(
            policy("# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\nx:1\r\n"),
            Some("allkeys-lru")
        );
        assert_eq!(policy("# Memory\r\nmaxmemory:0\r\n"), None);
    }
}
