//! Text that was found to be UTF-8 once, when it came in.

use std::fmt;
use std::ops::Deref;

use super::Violation;

/// The payload of a text message.
///
/// It owns a `String` rather than a slice of the read buffer: without `unsafe` only that remembers that the bytes were
/// validated, and a message kept for long does not keep the buffer alive. `Debug` shows the length alone, since
/// an `auth` frame holds a token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Text(String);

impl Text {
    pub(super) fn from_utf8(bytes: &[u8]) -> Result<Self, Violation> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Text(text.to_owned())),
            Err(_) => Err(Violation::not_utf8()),
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        text.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

/// Text that arrives in pieces, which may be cut within a character. A piece that no continuation could make valid is
/// refused at once. `Debug` shows the length alone here too.
#[derive(Default)]
pub(super) struct PartialText {
    whole: String,
    /// The beginning of a character whose end has not come: at most 3 bytes between calls.
    cut: Vec<u8>,
}

impl PartialText {
    /// The bytes received so far.
    pub(super) fn len(&self) -> usize {
        self.whole.len() + self.cut.len()
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        let piece = self.mend(piece)?;
        let end = match std::str::from_utf8(piece) {
            Ok(text) => {
                self.whole.push_str(text);
                return Ok(());
            }
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(Violation::not_utf8()),
        };
        // Only a piece that ends within a character is read twice.
        let (whole, cut) = piece.split_at(end);
        self.whole.push_str(std::str::from_utf8(whole).map_err(|_| Violation::not_utf8())?);
        self.cut.extend_from_slice(cut);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Text, Violation> {
        if self.cut.is_empty() { Ok(Text(self.whole)) } else { Err(Violation::not_utf8()) }
    }

    /// Completes the character that the last piece cut, and gives what follows it.
    fn mend<'a>(&mut self, mut piece: &'a [u8]) -> Result<&'a [u8], Violation> {
        while !self.cut.is_empty() {
            let Some((byte, rest)) = piece.split_first() else { break };
            piece = rest;
            self.cut.push(*byte);
            match std::str::from_utf8(&self.cut) {
                Ok(character) => {
                    self.whole.push_str(character);
                    self.cut.clear();
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(Violation::not_utf8()),
            }
        }
        Ok(piece)
    }
}

impl fmt::Debug for PartialText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartialText({} bytes)", self.len())
    }
}
