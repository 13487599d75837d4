//! Text folded for matching: without case, invisible characters and compatibility forms, with a map back to the
//! original.
//!
//! The folding is that of Unicode's NFKC_Casefold (Unicode 16, section 3.13).

use std::{borrow::Cow, ops::Range};

use unicode_normalization::char::{canonical_combining_class, compose, decompose_compatible};

/// Folded text, and the position of each of its bytes in the original.
pub(super) struct Folded<'a> {
    pub(super) text: String,
    original: &'a str,
    /// For each byte of `text`, the first byte of the original character; `None` if the positions are equal.
    origins: Option<Vec<usize>>,
}

impl<'a> Folded<'a> {
    /// Folds text as NFKC_Casefold does, but leaves it decomposed.
    pub(super) fn new(original: &'a str) -> Self {
        if is_visible_ascii(original) {
            return Folded { text: original.to_ascii_lowercase(), original, origins: None };
        }
        let mut parts = Vec::with_capacity(original.len());
        for (at, c) in visible(original) {
            decompose_compatible(c, |part| parts.push((part, at)));
        }
        order_marks(&mut parts);
        let mut folded = Vec::with_capacity(parts.len());
        for (part, at) in parts {
            // Upper case and back unifies letters that differ in lower case only: `ß` and `ss`, `ς` and `σ`. Lower case
            // first, for `ẞ`, which is its own upper case.
            for c in part.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase) {
                decompose_compatible(c, |part| folded.push((part, at)));
            }
        }
        order_marks(&mut folded);
        Folded::of(original, folded)
    }

    /// Makes folded text of its characters, each with the first byte of the original character that it is of.
    pub(super) fn of(original: &'a str, parts: Vec<(char, usize)>) -> Self {
        let (mut text, mut origins) =
            (String::with_capacity(original.len()), Vec::with_capacity(original.len()));
        for (part, at) in parts {
            text.push(part);
            origins.resize(text.len(), at);
        }
        Folded { text, original, origins: Some(origins) }
    }

    /// Returns the byte range in the original of `start..end` of the folded text, extended to whole characters.
    pub(super) fn origin(&self, start: usize, end: usize) -> Range<usize> {
        let first = self.character(start).unwrap_or(self.original.len());
        let last = self.character(end.saturating_sub(1)).unwrap_or(first);
        let after = self.original.get(last..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        first..last + after
    }

    /// Returns whether `start..end` of the folded text is a whole word, by the characters of the original: `™` is not a
    /// letter, though it folds to two.
    pub(super) fn is_word(&self, start: usize, end: usize) -> bool {
        // A part of one original character is never a whole word.
        let is_cut =
            |at: usize| at > 0 && self.origins.is_some() && self.character(at - 1) == self.character(at);
        if is_cut(start) || is_cut(end) {
            return false;
        }
        let range = self.origin(start, end);
        let (before, rest) = self.original.split_at_checked(range.start).unwrap_or_default();
        let (word, after) = rest.split_at_checked(range.len()).unwrap_or_default();
        let first = visible(word).map(|(_, c)| c).next();
        let mut after = visible(after).map(|(_, c)| c);
        let mut next = after.next();
        if !is_boundary(base(before), first) || !is_boundary(base(word), next) {
            return false;
        }
        // A following mark may compose with the last letter of the word to another letter.
        let letter = self.text.get(..end).and_then(base);
        while let (Some(letter), Some(mark)) = (letter, next.filter(|c| is_mark(*c))) {
            if compose(letter, mark).is_some() {
                return false;
            }
            next = after.next();
        }
        true
    }

    /// Returns the first byte of the original character of a byte of the folded text.
    fn character(&self, at: usize) -> Option<usize> {
        match &self.origins {
            Some(origins) => origins.get(at).copied(),
            None => Some(at).filter(|at| *at < self.original.len()),
        }
    }
}

/// Returns whether text is ASCII without invisible characters, in which only the case has to be folded.
pub(super) fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !is_invisible(byte.into()))
}

pub(super) fn visible(text: &str) -> impl Iterator<Item = (usize, char)> {
    text.char_indices().filter(|(_, c)| !is_invisible(*c))
}

/// Returns whether a character is invisible: a control character other than white space, a default-ignorable code point
/// (Unicode 16, DerivedCoreProperties.txt), or an interlinear annotation character.
fn is_invisible(c: char) -> bool {
    let is_ignorable = matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}');
    is_ignorable || (c.is_control() && !c.is_whitespace()) || matches!(c, '\u{FFF9}'..='\u{FFFB}')
}

/// Sorts marks into their canonical order (Unicode 16, section 3.11).
fn order_marks(chars: &mut [(char, usize)]) {
    for marks in chars.split_mut(|(c, _)| !is_mark(*c)) {
        marks.sort_by_key(|(c, _)| canonical_combining_class(*c));
    }
}

/// Returns whether a character is a combining mark, which belongs to the character before it.
fn is_mark(c: char) -> bool {
    canonical_combining_class(c) != 0
}

/// Returns the last character of a text that is visible and not a mark.
fn base(text: &str) -> Option<char> {
    text.chars().rev().find(|c| !is_mark(*c) && !is_invisible(*c))
}

/// Folds a word of the filter.
pub(super) fn fold(word: &str) -> Cow<'static, str> {
    Folded::new(word.trim()).text.into()
}

/// Returns whether there is a word boundary between two characters.
fn is_boundary(before: Option<char>, after: Option<char>) -> bool {
    !(before.is_some_and(is_word_character) && after.is_some_and(is_word_character))
}

/// Returns whether a character forms a word with its neighbours: letters and digits of scripts that are written with
/// spaces.
fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() && !is_of_script_without_spaces(c)
}

/// Returns whether a character is Thai, Lao, Burmese, Khmer, kana or Han: class SA of Unicode annex 14, and the
/// ideographs of annexes 14 and 29.
fn is_of_script_without_spaces(c: char) -> bool {
    matches!(c,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF66}'..='\u{FF9F}'
        | '\u{20000}'..='\u{3FFFF}')
}
