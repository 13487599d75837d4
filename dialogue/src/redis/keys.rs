//! What things are called in Redis.

use super::RedisError;

/// The names of one application's keys: `PREFIX:{TAG}:WHAT`.
///
/// What stands in braces decides the slot in a Cluster, so that everything of a room is in one place.
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

    /// The key of `what` there is of the room or bucket `tag`.
    pub(crate) fn of(&self, tag: &str, what: &str) -> String {
        format!("{}:{{{tag}}}:{what}", self.prefix)
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}
