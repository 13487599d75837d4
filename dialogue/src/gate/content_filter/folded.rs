//! Text without what readers can't tell apart, or don't see.

use std::{borrow::Cow, ops::Range};

use unicode_normalization::char::{canonical_combining_class, compose, decompose_compatible};

/// Text as words are compared by, and where each byte of it comes from.
pub(super) struct Folded<'a> {
    pub(super) text: String,
    original: &'a str,
    /// Of each byte of `text`, the first byte of the character it comes from; `None` if all are the same.
    origins: Option<Vec<usize>>,
}

impl<'a> Folded<'a> {
    /// Folds text as NFKC_Casefold does (Unicode 16, section 3.13), but leaves it decomposed: without case, without
    /// compatibility forms such as full-width letters, without what is invisible.
    pub(super) fn new(original: &'a str) -> Self {
        if is_plain(original) {
            return Folded { text: original.to_ascii_lowercase(), original, origins: None };
        }
        let mut parts = Vec::with_capacity(original.len());
        for (at, c) in visible(original) {
            decompose_compatible(c, |part| parts.push((part, at)));
        }
        order(&mut parts);
        let mut folded = Vec::with_capacity(parts.len());
        for (part, at) in parts {
            // To upper case and back, so that what differs in lower case alone is alike: `ß` and `ss`, `ς` and `σ`. To lower
            // case first, for `ẞ`, which is its own upper case.
            for c in part.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase) {
                decompose_compatible(c, |part| folded.push((part, at)));
            }
        }
        order(&mut folded);
        Folded::of(original, folded)
    }

    /// The same without compatibility forms and without what is invisible, in its own case; `None` if that is the text
    /// itself.
    #[cfg(feature = "regex")]
    pub(super) fn plainer(original: &'a str) -> Option<Self> {
        use unicode_normalization::UnicodeNormalization;

        if is_plain(original) {
            return None;
        }
        let parts =
            visible(original).flat_map(|(at, c)| std::iter::once(c).nfkc().map(move |part| (part, at)));
        let plainer = Folded::of(original, parts.collect());
        (plainer.text != original).then_some(plainer)
    }

    fn of(original: &'a str, parts: Vec<(char, usize)>) -> Self {
        let (mut text, mut origins) =
            (String::with_capacity(original.len()), Vec::with_capacity(original.len()));
        for (part, at) in parts {
            text.push(part);
            origins.resize(text.len(), at);
        }
        Folded { text, original, origins: Some(origins) }
    }

    /// Where `start..end` of the folded text stands in the original, which is whole characters.
    pub(super) fn origin(&self, start: usize, end: usize) -> Range<usize> {
        let first = self.character(start).unwrap_or(self.original.len());
        let last = self.character(end.saturating_sub(1)).unwrap_or(first);
        let after = self.original.get(last..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        first..last + after
    }

    /// Returns whether `start..end` of the folded text is a whole word, by the characters of the original: `™` is no letter.
    pub(super) fn is_word(&self, start: usize, end: usize) -> bool {
        // A part of a character is a part of a word.
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
        // A mark may make another letter of the word's last one.
        let letter = self.text.get(..end).and_then(base);
        while let (Some(letter), Some(mark)) = (letter, next.filter(|c| is_mark(*c))) {
            if compose(letter, mark).is_some() {
                return false;
            }
            next = after.next();
        }
        true
    }

    /// The first byte of the character that a byte comes from.
    fn character(&self, at: usize) -> Option<usize> {
        match &self.origins {
            Some(origins) => origins.get(at).copied(),
            None => Some(at).filter(|at| *at < self.original.len()),
        }
    }
}

/// Returns whether text is of ASCII without what is invisible: all but its case is as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !is_invisible(byte.into()))
}

fn visible(text: &str) -> impl Iterator<Item = (usize, char)> {
    text.char_indices().filter(|(_, c)| !is_invisible(*c))
}

/// Returns whether a character shows nothing between its neighbours: a control character that is no white space, what Unicode calls
/// default-ignorable (Unicode 16, DerivedCoreProperties.txt), or an annotation's.
fn is_invisible(c: char) -> bool {
    let is_ignorable = matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}');
    is_ignorable || (c.is_control() && !c.is_whitespace()) || matches!(c, '\u{FFF9}'..='\u{FFFB}')
}

/// The canonical order of marks (Unicode 16, section 3.11).
fn order(chars: &mut [(char, usize)]) {
    for marks in chars.split_mut(|(c, _)| !is_mark(*c)) {
        marks.sort_by_key(|(c, _)| canonical_combining_class(*c));
    }
}

/// Returns whether a character goes with the one before it.
fn is_mark(c: char) -> bool {
    canonical_combining_class(c) != 0
}

/// The last character of a text, without its marks.
fn base(text: &str) -> Option<char> {
    text.chars().rev().find(|c| !is_mark(*c) && !is_invisible(*c))
}

/// A word as it is looked for.
pub(super) fn fold(word: &str) -> Cow<'static, str> {
    Folded::new(word.trim()).text.into()
}

/// Whether a word may end between two characters.
fn is_boundary(before: Option<char>, after: Option<char>) -> bool {
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
