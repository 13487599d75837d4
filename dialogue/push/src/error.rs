//! The error of a provider's keys and settings.

use std::fmt;

/// An error in the keys or settings of a provider. Its text never contains a key.
#[derive(Debug)]
pub struct ProviderError {
    message: String,
}

impl ProviderError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        ProviderError { message: message.into() }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProviderError {}

/// Lets a program's `main` return one error type.
impl From<ProviderError> for dialogue_core::Error {
    fn from(error: ProviderError) -> Self {
        dialogue_core::Error::other(error)
    }
}
