//! The error of push settings.

use std::fmt;

/// An error in the settings of pushes, or in the start of their thread.
#[derive(Debug)]
pub(crate) struct PushError {
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
