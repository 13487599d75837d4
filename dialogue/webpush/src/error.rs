//! The error of the provider's key and settings.

use std::{error::Error, fmt};

use dialogue_push::ProviderError;

/// An error in the key or settings of [`Vapid`](crate::Vapid). Its text never contains the key.
#[derive(Debug)]
pub struct VapidError {
    kind: VapidErrorKind,
}

#[derive(Debug)]
enum VapidErrorKind {
    Key,
    Subject,
    /// A root certificate.
    Http(ProviderError),
}

impl VapidError {
    pub(crate) fn key() -> Self {
        VapidError { kind: VapidErrorKind::Key }
    }

    pub(crate) fn subject() -> Self {
        VapidError { kind: VapidErrorKind::Subject }
    }
}

impl From<ProviderError> for VapidError {
    fn from(error: ProviderError) -> Self {
        VapidError { kind: VapidErrorKind::Http(error) }
    }
}

impl fmt::Display for VapidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            VapidErrorKind::Key => {
                f.write_str("can't read the VAPID key; it has to be a private key of the curve P-256")
            }
            VapidErrorKind::Subject => f.write_str(
                "the VAPID subject has to begin with `mailto:` or `https://`, which some services require",
            ),
            VapidErrorKind::Http(error) => write!(f, "{error}"),
        }
    }
}

impl Error for VapidError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            VapidErrorKind::Key | VapidErrorKind::Subject => None,
            VapidErrorKind::Http(error) => error.source(),
        }
    }
}

/// Lets a program's `main` return one error type.
impl From<VapidError> for dialogue_core::Error {
    fn from(error: VapidError) -> Self {
        dialogue_core::Error::other(error)
    }
}
