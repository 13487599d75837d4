//! The names of keys and channels in Redis.

use crate::error::RedisError;

/// The names of one application's keys: `PREFIX:{KIND/ID}:PART`, as in `acme:{room/chat}:log`.
///
/// The text in braces is the hash tag, so that in a Cluster all keys of a room are in one slot and one script can use
/// them. It never begins with a brace, which would make it empty.
#[derive(Debug, Clone)]
pub(crate) struct KeySpace {
    prefix: Box<str>,
}

pub(crate) const DEFAULT_PREFIX: &str = "dialogue";
const MAX_PREFIX_LENGTH: usize = 64;

impl KeySpace {
    pub(crate) fn new(prefix: &str) -> Result<Self, RedisError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if prefix.is_empty() || prefix.len() > MAX_PREFIX_LENGTH || !prefix.bytes().all(is_allowed) {
            return Err(RedisError::configuration(format!(
                "the prefix of keys in Redis has 1 to {MAX_PREFIX_LENGTH} characters of A-Z, a-z, 0-9, `_`, `-`, `.` and `:`"
            )));
        }
        Ok(KeySpace { prefix: prefix.into() })
    }

    /// Returns the name of a key of the room `id`.
    pub(crate) fn room(&self, id: &str, part: &str) -> String {
        format!("{}:{{room/{id}}}:{part}", self.prefix)
    }

    /// Returns the name of a key for the records of a group.
    pub(crate) fn records(&self, group: &str, part: &str) -> String {
        format!("{}:{{records/{group}}}:{part}", self.prefix)
    }

    /// Returns the name of a key of the node `id`.
    pub(crate) fn node(&self, id: &str, part: &str) -> String {
        format!("{}:{{peer/{id}}}:{part}", self.prefix)
    }

    /// Returns the name of the key that holds the state of a rate limit for one client.
    pub(crate) fn limit(&self, limit: &str, subject: &impl std::fmt::Display) -> String {
        format!("{}:{{limit/{limit} {subject}}}:due", self.prefix)
    }

    /// Returns the name of the key that holds the leases of all nodes.
    pub(crate) fn nodes(&self) -> String {
        format!("{}:{{peers}}:leases", self.prefix)
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}
