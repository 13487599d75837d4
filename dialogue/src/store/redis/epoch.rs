//! A log's incarnation as a number, which every id of its stream begins with.

use std::sync::Arc;

use sha2::{Digest, Sha256};

/// An epoch, as the ids of a stream hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(pub(crate) u64);

const BASE: u64 = 36;

impl Epoch {
    /// The number of an epoch, and the text to keep beside events where that can't be told from the number.
    pub(crate) fn of(text: &str) -> (Self, &str) {
        // Ours are numbers in base 36.
        let number = u64::from_str_radix(text, 36).ok();
        if let Some(number) = number.filter(|number| *epoch_text(*number) == *text) {
            return (Epoch(number), "");
        }
        let bits = Sha256::digest(text).first_chunk::<8>().copied().unwrap_or_default();
        (Epoch(u64::from_be_bytes(bits)), text)
    }
}

/// The text of an epoch that has none beside its events.
pub(crate) fn epoch_text(mut number: u64) -> Arc<str> {
    let mut digits = Vec::new();
    loop {
        digits.extend(u32::try_from(number % BASE).ok().and_then(|digit| char::from_digit(digit, 36)));
        number /= BASE;
        if number == 0 {
            return digits.into_iter().rev().collect::<String>().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_needs_no_text_beside_it() {
        for text in ["0", "k2f9", "gr9dy2k4w1c", "3w5e11264sgsf"] {
            let (epoch, beside) = Epoch::of(text);
            assert_eq!((&*epoch_text(epoch.0), beside), (text, ""));
        }
        assert_eq!(Epoch::of("3w5e11264sgsf").0, Epoch(u64::MAX));
    }

    #[test]
    fn any_other_stands_beside() {
        for text in ["", "00", "K2F9", "+1", "zzzzzzzzzzzzzz", "an epoch of another kind"] {
            assert_eq!(Epoch::of(text).1, text);
        }
        assert_ne!(Epoch::of("A").0, Epoch::of("B").0);
    }
}
