//! Ids that the server makes.

use std::{fmt, str};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// The id of an event or a connection: 64 random bits as 11 characters of `[A-Za-z0-9_-]`.
///
/// ```
/// use dialogue::wire::Id;
///
/// let id = Id::parse("AAAAAAAAAAA").expect("11 characters");
/// assert_eq!(id.as_str(), "AAAAAAAAAAA");
/// assert!(Id::parse("an id of another kind").is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; 11]);

impl Id {
    /// Creates a random id.
    pub fn fresh() -> Self {
        let mut id = [b'A'; 11];
        // 8 bytes are 11 characters of base64, always.
        let written = URL_SAFE_NO_PAD.encode_slice(fastrand::u64(..).to_be_bytes(), &mut id);
        debug_assert_eq!(written, Ok(11));
        Id(id)
    }

    /// The id whose text this is.
    pub fn parse(text: &str) -> Option<Self> {
        let id: [u8; 11] = text.as_bytes().try_into().ok()?;
        id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).then_some(Id(id))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        // It is ASCII, always.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
