//! The epochs of logs: a name for each unbroken history.

use std::sync::Arc;

use crate::wall_clock::unique_us;

/// Returns an epoch that no log had before: the time in microseconds since 1970, in base 36.
pub(crate) fn fresh() -> Arc<str> {
    text(unique_us())
}

/// Returns whether an epoch is a later one than another, by the clocks of the nodes that named them.
pub(crate) fn is_after(epoch: &str, other: &str) -> bool {
    (epoch.len(), epoch) > (other.len(), other)
}

/// Returns a number in base 36.
pub(crate) fn text(mut number: u64) -> Arc<str> {
    const DIGITS: u64 = 36;
    let mut reversed = Vec::new();
    loop {
        let digit = u32::try_from(number % DIGITS).unwrap_or(0);
        reversed.extend(char::from_digit(digit, 36));
        number /= DIGITS;
        if number == 0 {
            return reversed.into_iter().rev().collect::<String>().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_epoch_is_a_number() {
        for number in [0, 35, 36, 1_700_000_000_000_000, u64::MAX] {
            assert_eq!(u64::from_str_radix(&text(number), 36), Ok(number));
        }
    }

    #[test]
    fn a_later_epoch_is_after_an_earlier_one() {
        for (earlier, later) in [(0, 1), (9, 10), (35, 36), (35, 1_700_000_000_000_000)] {
            assert!(is_after(&text(later), &text(earlier)), "{later}");
            assert!(!is_after(&text(earlier), &text(later)) && !is_after(&text(later), &text(later)));
        }
    }

    #[test]
    fn no_epoch_comes_twice() {
        let names: HashSet<_> = (0..10_000).map(|_| fresh()).collect();
        assert_eq!(names.len(), 10_000);
    }
}
