//! Keys and settings of no use.

use std::fmt;

/// Why keys or settings of a push provider are of no use. Says nothing of the keys themselves.
#[derive(Debug)]
pub struct PushError {
    message: String,
}

impl PushError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        PushError { message: message.into() }
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PushError {}
