//! Matching of many words in one pass (Aho and Corasick, "Efficient string matching", 1975).

use std::{fmt, ops::Range};

use aho_corasick::{AhoCorasick, Match};

use super::{
    Matcher,
    folded::{Folded, fold},
};

/// A set of words, and the automaton that finds them.
pub(super) struct Words {
    /// Finds the folded words in folded text.
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

    /// Returns all matches, including overlapping ones: a longer word may be cut by a word boundary where a shorter one
    /// is whole.
    fn found<'a>(&'a self, folded: &'a Folded<'_>) -> impl Iterator<Item = Match> {
        let all = self.automaton.find_overlapping_iter(folded.text.as_str());
        all.filter(move |found| folded.is_word(found.start(), found.end()))
    }
}

impl Matcher for Words {
    fn match_in(&self, text: &str) -> bool {
        let folded = Folded::new(text);
        self.found(&folded).next().is_some()
    }

    fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let folded = Folded::new(text);
        self.found(&folded).map(|found| folded.origin(found.start(), found.end())).collect()
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
        Words::new(words).match_in(text)
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
    fn case_is_folded_by_unicode() {
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
    fn invisible_characters_are_skipped() {
        let ignorable = "\u{AD}\u{34F}\u{61C}\u{115F}\u{17B4}\u{180E}\u{200B}\u{200E}\u{202E}\u{2060}\u{2064}\u{206F}\u{3164}\
            \u{FE0F}\u{FEFF}\u{FFA0}\u{FFF8}\u{FFFA}\u{1BCA0}\u{1D173}\u{E0001}\u{E0041}\u{E01EF}";
        let control = "\0\u{1}\u{7}\u{8}\u{E}\u{1B}\u{1F}\u{7F}\u{80}\u{9F}";
        for c in ignorable.chars().chain(control.chars()) {
            for text in [format!("sp{c}am"), format!("{c}s{c}{c}pam{c}!"), format!("é sp{c}AM")] {
                assert!(found(&["spam"], &text), "{}", text.escape_unicode());
            }
            assert!(!found(&["spam"], &format!("spam{c}mer")), "{}", c.escape_unicode());
        }
        for space in ["\n", "\t", "\u{85}", "\u{2028}", "\u{A0}"] {
            assert!(found(&["spam"], &format!("line{space}spam{space}line")), "{}", space.escape_unicode());
        }
    }

    #[test]
    fn compatibility_forms_match_as_the_letters_that_they_show() {
        for (word, text) in [
            ("spam", "ｓｐａｍ"),
            ("spam", "ＳＰＡＭ！"),
            ("spam", "𝐬𝓅𝔞𝖒"),
            ("spam", "ⓢⓟⓐⓜ"),
            ("spam", "ˢᵖᵃᵐ"),
            ("file", "ﬁle"),
            ("ﬁle", "FILE"),
            ("カード", "ｶｰﾄﾞ"),
            ("buy now", "buy\u{A0}now"),
            ("café", "cafe\u{301}"),
            ("cafe\u{301}", "CAFÉ"),
            ("q\u{323}\u{307}", "q\u{307}\u{323}"),
            ("가방", "\u{1100}\u{1161}\u{1107}\u{1161}\u{11BC}"),
        ] {
            assert!(found(&[word], text), "{word} in {text}");
        }
        for text in
            ["ｓｐａｍｍｅｒ", "ａntispam", "sp\u{308}am", "spa\u{1E3F}", "spam\u{301}", "e\u{301}spam"]
        {
            assert!(!found(&["spam"], text), "{text}");
        }
    }

    #[test]
    fn a_symbol_is_a_word_boundary() {
        for text in ["spam™", "℠spam", "spam…", "spam\u{335}", "spam\u{20E3}"] {
            assert!(found(&["spam"], text), "{text}");
        }
        assert!(!found(&["s"], "ß") && !found(&["か"], "が"));
    }

    #[test]
    fn no_words_match_nothing() {
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
