//! Text without case.

use std::borrow::Cow;

/// Text as words are compared by, and where each byte of it comes from.
pub(super) struct Folded {
    pub(super) text: String,
    /// Of each byte of `text`, the first byte of the character it comes from, and the end at last; `None` if all are the
    /// same.
    origins: Option<Vec<usize>>,
}

impl Folded {
    pub(super) fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Folded { text: text.to_ascii_lowercase(), origins: None };
        }
        let (mut folded, mut origins) = (String::with_capacity(text.len()), Vec::with_capacity(text.len()));
        for (at, c) in text.char_indices() {
            // To upper case and back, so that what differs in lower case alone is alike: `ß` and `ss`, `ς` and `σ`.
            folded.extend(c.to_uppercase().flat_map(char::to_lowercase));
            origins.resize(folded.len(), at);
        }
        origins.push(text.len());
        Folded { text: folded, origins: Some(origins) }
    }

    /// Where `start..end` of the folded text stands in the original, which is whole characters.
    pub(super) fn origin(&self, start: usize, end: usize) -> std::ops::Range<usize> {
        let Some(origins) = &self.origins else { return start..end };
        let at = |index: usize| origins.get(index).copied();
        let last = at(end.saturating_sub(1));
        // The end is where the next character begins, though the match may end in the middle of this one.
        let next = origins.get(end..).into_iter().flatten().copied().find(|next| Some(*next) != last);
        at(start).unwrap_or_default()..next.or_else(|| origins.last().copied()).unwrap_or_default()
    }
}

/// A word as it is looked for.
pub(super) fn fold(word: &str) -> Cow<'static, str> {
    Folded::new(word.trim()).text.into()
}

/// Whether a word may end between two characters.
pub(super) fn is_boundary(before: Option<char>, after: Option<char>) -> bool {
    !(before.is_some_and(joins) && after.is_some_and(joins))
}

/// Whether a character is part of a longer word with its neighbour: letters and digits, of scripts with spaces.
fn joins(c: char) -> bool {
    c.is_alphanumeric() && !is_of_script_without_spaces(c)
}

/// Thai, Lao, Burmese, Khmer, kana and Han: the classes SA, and ideographs, of Unicode annexes 14 and 29.
fn is_of_script_without_spaces(c: char) -> bool {
    matches!(c,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF66}'..='\u{FF9F}'
        | '\u{20000}'..='\u{3FFFF}')
}
