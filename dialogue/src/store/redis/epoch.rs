//! A log's incarnation as a number, which every id of its stream begins with.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// An epoch, as the ids of a stream hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(pub(super) u64);

impl Epoch {
    /// The number of an epoch, and the text to keep beside events where that can't be told from the number.
    pub(super) fn of(text: &str) -> (Self, &str) {
        let bits = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        match bits {
            // Ours are 64 bits in base64.
            Some(bits) => (Epoch(u64::from_be_bytes(bits)), ""),
            None => {
                let digest = Sha256::digest(text);
                let bits = digest.first_chunk::<8>().copied().unwrap_or_default();
                (Epoch(u64::from_be_bytes(bits)), text)
            }
        }
    }

    /// The text of an epoch that has none beside its events.
    pub(super) fn text(self) -> Arc<str> {
        URL_SAFE_NO_PAD.encode(self.0.to_be_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Id;

    #[test]
    fn an_epoch_of_ours_is_told_from_its_number() {
        for text in [Id::fresh().as_str(), "AAAAAAAAAAA", "__________8"] {
            let (epoch, beside) = Epoch::of(text);
            assert_eq!((&*epoch.text(), beside), (text, ""));
        }
    }

    #[test]
    fn any_other_stands_beside() {
        for text in ["k2f9", "", "zzzzzzzzzzz", "an epoch of another kind"] {
            assert_eq!(Epoch::of(text).1, text);
        }
        assert_ne!(Epoch::of("a").0, Epoch::of("b").0);
    }
}
