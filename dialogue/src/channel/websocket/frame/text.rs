//! Text messages, whose UTF-8 is validated once, on receipt.

use std::fmt;
use std::ops::Deref;

use super::Violation;

/// The payload of a text message.
///
/// It owns a `String` instead of a slice of the read buffer: without `unsafe`, only a `String` keeps the validation,
/// and a message that is kept for long doesn't keep the buffer alive. `Debug` shows only the length, since an `auth`
/// frame holds a token.
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

/// A text message in fragments, which may split a character. A fragment that no continuation could make valid is
/// refused at once (RFC 6455, section 8.1). `Debug` shows only the length.
#[derive(Default)]
pub(super) struct PartialText {
    text: String,
    /// The first bytes of a character that is not complete yet: at most 3 bytes between calls.
    incomplete: Vec<u8>,
}

impl PartialText {
    /// Returns the number of bytes received so far.
    pub(super) fn len(&self) -> usize {
        self.text.len() + self.incomplete.len()
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        let piece = self.complete_character(piece)?;
        let end = match std::str::from_utf8(piece) {
            Ok(text) => {
                self.text.push_str(text);
                return Ok(());
            }
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(Violation::not_utf8()),
        };
        // Only a piece that ends within a character is validated twice.
        let (valid, incomplete) = piece.split_at(end);
        self.text.push_str(std::str::from_utf8(valid).map_err(|_| Violation::not_utf8())?);
        self.incomplete.extend_from_slice(incomplete);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Text, Violation> {
        if self.incomplete.is_empty() { Ok(Text(self.text)) } else { Err(Violation::not_utf8()) }
    }

    /// Completes the character that the last piece split, and returns the bytes after it.
    fn complete_character<'a>(&mut self, mut piece: &'a [u8]) -> Result<&'a [u8], Violation> {
        while !self.incomplete.is_empty() {
            let Some((byte, rest)) = piece.split_first() else { break };
            piece = rest;
            self.incomplete.push(*byte);
            match std::str::from_utf8(&self.incomplete) {
                Ok(character) => {
                    self.text.push_str(character);
                    self.incomplete.clear();
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
