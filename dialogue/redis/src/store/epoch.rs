//! Epochs as numbers: the first part of the ids of a room's stream is the epoch of its log.

use std::sync::Arc;

use sha2::{Digest, Sha256};

/// An epoch as the first part of a stream's ids: the number itself if the epoch is one in base 36, otherwise a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EpochNumber(pub(crate) u64);

const RADIX: u64 = 36;

impl EpochNumber {
    /// Returns the number of an epoch, and the text to store with each event: empty if the number determines the epoch.
    pub(crate) fn from_text(text: &str) -> (Self, &str) {
        // Epochs that the library generates are numbers in base 36.
        let number = u64::from_str_radix(text, 36).ok();
        if let Some(number) = number.filter(|number| *epoch_text(*number) == *text) {
            return (EpochNumber(number), "");
        }
        let bits = Sha256::digest(text).first_chunk::<8>().copied().unwrap_or_default();
        (EpochNumber(u64::from_be_bytes(bits)), text)
    }
}

/// Returns the epoch of a number, for events without a stored text: the number in base 36.
pub(crate) fn epoch_text(mut number: u64) -> Arc<str> {
    let mut digits = Vec::new();
    loop {
        digits.extend(u32::try_from(number % RADIX).ok().and_then(|digit| char::from_digit(digit, 36)));
        number /= RADIX;
        if number == 0 {
            return digits.into_iter().rev().collect::<String>().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_in_base_36_needs_no_stored_text() {
        for text in ["0", "k2f9", "gr9dy2k4w1c", "3w5e11264sgsf"] {
            let (epoch, explicit) = EpochNumber::from_text(text);
            assert_eq!((&*epoch_text(epoch.0), explicit), (text, ""));
        }
        assert_eq!(EpochNumber::from_text("3w5e11264sgsf").0, EpochNumber(u64::MAX));
    }

    #[test]
    fn another_epoch_is_stored_as_text() {
        for text in ["", "00", "K2F9", "+1", "zzzzzzzzzzzzzz", "an epoch of another kind"] {
            assert_eq!(EpochNumber::from_text(text).1, text);
        }
        assert_ne!(EpochNumber::from_text("A").0, EpochNumber::from_text("B").0);
    }
}
