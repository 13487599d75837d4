//! The error of building and serving a server.

use std::{error, fmt};

use crate::store::StoreError;

/// The error of building or serving a server. Its text is the whole cause with the remedy.
///
/// `Debug` shows the same text as `Display`, since a `main` that returns this error prints `Debug`. The errors of the
/// parts that a server is built of, such as a store's or a provider's, convert into it, so that `main` needs no other.
pub struct Error {
    /// The text; `None` if it is that of `cause`.
    text: Option<String>,
    cause: Box<dyn error::Error + Send + Sync>,
}

impl Error {
    /// Returns an error with the text and the source of `error`: for the `From` of a part's own error.
    ///
    /// ```
    /// # use std::fmt;
    /// #[derive(Debug)]
    /// struct TenantError;
    /// # impl fmt::Display for TenantError {
    /// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("the tenant is unknown") }
    /// # }
    /// # impl std::error::Error for TenantError {}
    ///
    /// impl From<TenantError> for dialogue::Error {
    ///     fn from(error: TenantError) -> Self {
    ///         dialogue::Error::other(error)
    ///     }
    /// }
    /// assert_eq!(dialogue::Error::from(TenantError).to_string(), "the tenant is unknown");
    /// ```
    pub fn other(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Error { text: None, cause: error.into() }
    }

    /// Returns an error with a text of its own, which tells `cause` too.
    #[doc(hidden)]
    pub fn caused(text: String, cause: impl error::Error + Send + Sync + 'static) -> Self {
        Error { text: Some(text), cause: Box::new(cause) }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::caused(format!("can't use the store: {error}"), error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => fmt::Display::fmt(&self.cause, f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self.text {
            Some(_) => Some(&*self.cause),
            None => self.cause.source(),
        }
    }
}
