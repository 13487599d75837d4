//! Anchors: an event's number, and the digest of the log up to that event.

use std::{error::Error, fmt, str::FromStr};

use sha2::{Digest, Sha256};

/// An event of a log, and the digest that stands for the log up to it.
///
/// Its text is `57:9c…`, the number and 64 hexadecimal digits: something to print, send by mail, or put into another
/// log.
///
/// ```
/// use dialogue::audit::Anchor;
///
/// let text = format!("57:{}", "9c".repeat(32));
/// let anchor: Anchor = text.parse()?;
/// assert_eq!((anchor.seq, anchor.digest), (57, [0x9c; 32]));
/// assert_eq!(anchor.to_string(), text);
/// # Ok::<_, dialogue::audit::NoAnchor>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Anchor {
    /// The event's number; 0 for the beginning of the log.
    pub seq: u64,
    /// The digest of the log up to and including the event.
    pub digest: [u8; 32],
}

/// Returns the next digest of the hash chain: SHA-256 over the previous digest (32 zero bytes before the first event)
/// and the event's frame.
pub(crate) fn link(before: Option<&[u8; 32]>, frame: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(before.unwrap_or(&[0; 32])).chain_update(frame).finalize().into()
}

impl Anchor {
    /// The beginning of every log.
    pub const BEGINNING: Anchor = Anchor { seq: 0, digest: [0; 32] };
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.digest))
    }
}

impl FromStr for Anchor {
    type Err = NoAnchor;

    fn from_str(text: &str) -> Result<Self, NoAnchor> {
        let (seq, digest) = text.split_once(':').ok_or(NoAnchor)?;
        Ok(Anchor { seq: seq.parse().map_err(|_| NoAnchor)?, digest: from_hex(digest).ok_or(NoAnchor)? })
    }
}

/// The error of a text that is not an [`Anchor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAnchor;

impl fmt::Display for NoAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an anchor is an event's number, `:`, and a digest of 64 hexadecimal digits in lower case",
        )
    }
}

impl Error for NoAnchor {}

/// Returns the digest in lower-case hexadecimal digits.
pub(super) fn hex(digest: &[u8; 32]) -> String {
    use fmt::Write;

    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Parses a digest in lower-case hexadecimal digits, the only accepted form.
pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    if rest.is_empty() { bytes.try_into().ok() } else { None }
}
