//! What things are called in Redis.

use super::RedisError;

/// The names of one application's keys: `PREFIX:{KIND/OF}:WHAT`, as in `acme:{room/chat}:log`.
///
/// What stands in braces decides the slot in a Cluster, so that everything of a room is in one place. It never begins
/// with a brace, which would leave it empty.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Box<str>,
}

/// A prefix that is none of another application, most likely.
pub(super) const PREFIX: &str = "dialogue";
const LONGEST: usize = 64;

impl Keys {
    pub(super) fn new(prefix: &str) -> Result<Self, RedisError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if prefix.is_empty() || prefix.len() > LONGEST || !prefix.bytes().all(fits) {
            return Err(RedisError::configuration(format!(
                "the prefix of keys in Redis has 1 to {LONGEST} characters of A-Z, a-z, 0-9, `_`, `-`, `.` and `:`"
            )));
        }
        Ok(Keys { prefix: prefix.into() })
    }

    /// The key of `what` there is of the room `id`.
    pub(crate) fn room(&self, id: &str, what: &str) -> String {
        format!("{}:{{room/{id}}}:{what}", self.prefix)
    }

    /// The key of `what` there is of all records of the group `group`.
    pub(crate) fn records(&self, group: &str, what: &str) -> String {
        format!("{}:{{records/{group}}}:{what}", self.prefix)
    }

    /// The key of `what` there is of the node `id`.
    pub(crate) fn node(&self, id: &str, what: &str) -> String {
        format!("{}:{{peer/{id}}}:{what}", self.prefix)
    }

    /// The key of what a client has left of a limit.
    pub(crate) fn limit(&self, limit: &str, subject: &impl std::fmt::Display) -> String {
        format!("{}:{{limit/{limit} {subject}}}:due", self.prefix)
    }

    /// The key of the leases of all nodes.
    pub(crate) fn nodes(&self) -> String {
        format!("{}:{{peers}}:leases", self.prefix)
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}
