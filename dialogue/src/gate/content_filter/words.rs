//! Many words, found in one pass.

use std::{fmt, ops::Range};

use aho_corasick::{AhoCorasick, Match};

use super::folded::{Folded, fold, is_boundary};

/// See the [module](self).
pub(super) struct Words {
    /// Of words without case (Aho and Corasick, 1975).
    automaton: AhoCorasick,
}

impl Words {
    pub(super) fn new<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Self {
        let words = words.into_iter().map(|word| fold(word.as_ref())).filter(|word| !word.is_empty());
        match AhoCorasick::new(words.map(std::borrow::Cow::into_owned)) {
            Ok(automaton) => Words { automaton },
            Err(error) => panic!("the words of a content filter can't be used: {error}"),
        }
    }

    pub(super) fn are_in(&self, text: &str) -> bool {
        let folded = Folded::new(text);
        self.found(&folded).next().is_some()
    }

    /// Where they stand in `text`.
    pub(super) fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let folded = Folded::new(text);
        self.found(&folded).map(|found| folded.origin(found.start(), found.end())).collect()
    }

    /// All of them, the longer and the shorter: one may be part of a word where the other is whole.
    fn found<'a>(&'a self, folded: &'a Folded) -> impl Iterator<Item = Match> {
        let text = folded.text.as_str();
        self.automaton.find_overlapping_iter(text).filter(move |found| {
            let (before, word) = text.split_at_checked(found.start()).unwrap_or_default();
            let after = text.get(found.end()..).unwrap_or_default();
            let last = text.get(..found.end()).unwrap_or_default().chars().next_back();
            is_boundary(before.chars().next_back(), word.chars().next())
                && is_boundary(last, after.chars().next())
        })
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({})", self.automaton.patterns_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &[&str], text: &str) -> bool {
        Words::new(words).are_in(text)
    }

    #[test]
    fn whole_words_in_any_case() {
        for text in
            ["spam", "SPAM", "buy Spam now", "spam!", "(spam)", "line\nspam", "_spam_", "antispam, spam"]
        {
            assert!(found(&["spam"], text), "{text}");
        }
        for text in ["spammer", "antispam", "spam2", "spämm", ""] {
            assert!(!found(&["spam"], text), "{text}");
        }
    }

    #[test]
    fn the_shorter_is_found_where_the_longer_is_part_of_a_word() {
        assert!(found(&["spam eggs", "spam"], "spam eggsalad"));
        assert!(!found(&["spam eggs"], "spam eggsalad"));
    }

    #[test]
    fn case_is_that_of_unicode() {
        for (word, text) in
            [("straße", "STRASSE"), ("ΌΣΟΣ", "όσος"), ("жук", "ЖУК"), ("kelvin", "\u{212A}elvin")]
        {
            assert!(found(&[word], text), "{word} in {text}");
        }
    }

    #[test]
    fn scripts_without_spaces_have_no_whole_words() {
        assert!(found(&["垃圾"], "我爱垃圾邮件") && found(&["สแปม"], "นี่คือสแปมนะ"));
        assert!(found(&["spam"], "我爱spam邮件"));
    }

    #[test]
    fn no_words_are_in_nothing() {
        assert!(!found(&[], "spam") && !found(&["", "  "], "spam and eggs"));
    }

    #[test]
    fn ranges_are_of_whole_characters() {
        let text = "die Straße, ein ß";
        let ranges = Words::new(["strasse", "s"]).ranges(text);
        assert!(ranges.iter().all(|range| text.get(range.clone()).is_some()), "{ranges:?}");
        assert_eq!(ranges.first().and_then(|range| text.get(range.clone())), Some("Straße"));
    }
}
