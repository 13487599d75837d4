//! The error of keys that can't be loaded or used.

use std::{error::Error, fmt, io};

/// A key that can't be read, or is not a key for verifying tokens.
#[derive(Debug)]
pub struct KeyError {
    message: String,
    source: Option<io::Error>,
}

impl KeyError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        KeyError { message: message.into(), source: None }
    }

    pub(super) fn io(message: impl Into<String>, source: io::Error) -> Self {
        KeyError { message: message.into(), source: Some(source) }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for KeyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Lets a program's `main` return one error type.
impl From<KeyError> for dialogue_core::Error {
    fn from(error: KeyError) -> Self {
        dialogue_core::Error::other(error)
    }
}
