//! The bounds on requests that several types share.

use super::invalid;
use crate::{Code, Refusal};

/// The bounds on the number of entries in a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageLimits {
    /// The number if the client names none.
    pub(crate) default: usize,
    pub(crate) max: usize,
}

impl PageLimits {
    /// Returns the number of entries, which is at least 1.
    ///
    /// # Errors
    ///
    /// `INVALID_REQUEST` if the client wants none or too many.
    pub(crate) fn check(self, wanted: Option<usize>) -> Result<usize, Refusal> {
        let limit = wanted.unwrap_or(self.default);
        if (1..=self.max).contains(&limit) {
            Ok(limit)
        } else {
            Err(invalid(format!("`limit` is a number from 1 to {}", self.max)))
        }
    }
}

/// Refuses a list of more than `max` event names.
pub(crate) fn check_event_count(names: usize, max: usize) -> Result<(), Refusal> {
    match names > max {
        true => Err(Refusal::new(Code::TooMany, format!("`events` lists at most {max} names"))),
        false => Ok(()),
    }
}

/// Refuses JSON that is nested deeper than `max` levels, before any of its values is parsed.
pub(crate) fn check_depth(json: &str, max: usize) -> Result<(), Refusal> {
    // Nearly every frame has too few opening brackets to be too deep. They are summed in a `u8`, which the compiler
    // vectorises, since this runs for every frame.
    let brackets = |bytes: &[u8]| bytes.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    let chunks = json.as_bytes().chunks(usize::from(u8::MAX));
    if chunks.map(|bytes| usize::from(brackets(bytes))).sum::<usize>() <= max {
        return Ok(());
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' if depth == max => {
                return Err(invalid(format!("JSON is nested at most {max} levels deep")));
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}
