//! Matching of regular expressions.

use std::ops::Range;

use regex::{Regex, RegexSet};
use unicode_normalization::UnicodeNormalization;

use super::{
    ContentFilter, Matcher,
    folded::{Folded, is_visible_ascii, visible},
};

/// A list of regular expressions.
#[derive(Debug)]
struct Patterns {
    /// Finds those that match at all, in one pass.
    all: RegexSet,
    each: Vec<Regex>,
}

impl ContentFilter {
    /// Creates a filter of regular expressions, in the syntax of the crate `regex` (feature `regex`). Matching takes
    /// time linear in the length of the text. `(?i)` makes an expression ignore case.
    ///
    /// ```
    /// # use dialogue::middleware::ContentFilter;
    /// let card_numbers = ContentFilter::patterns([r"\b\d{4}(?: ?\d{4}){3}\b"]).masked();
    /// ```
    ///
    /// # Panics
    ///
    /// If one is not a valid regular expression, or is too large. For a filter in `rooms!`, this is when the server is
    /// built.
    pub fn patterns<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let sources: Vec<P> = patterns.into_iter().collect();
        let all = RegexSet::new(&sources);
        let each: Result<Vec<Regex>, _> = sources.iter().map(|source| Regex::new(source.as_ref())).collect();
        match (all, each) {
            (Ok(all), Ok(each)) => ContentFilter::new(Patterns { all, each }),
            (Err(error), _) | (_, Err(error)) => {
                panic!("a pattern of a content filter can't be used: {error}")
            }
        }
    }
}

impl Matcher for Patterns {
    fn match_in(&self, text: &str) -> bool {
        self.all.is_match(text) || plain(text).is_some_and(|plain| self.all.is_match(&plain.text))
    }

    fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let mut ranges = self.found(text);
        if let Some(plain) = plain(text) {
            let in_plain = self.found(&plain.text).into_iter();
            ranges.extend(in_plain.map(|range| plain.origin(range.start, range.end)));
        }
        ranges
    }
}

impl Patterns {
    /// Returns the byte ranges of all matches in a text as it is.
    fn found(&self, text: &str) -> Vec<Range<usize>> {
        let matched = self.all.matches(text).into_iter().filter_map(|index| self.each.get(index));
        matched.flat_map(|pattern| pattern.find_iter(text)).map(|found| found.range()).collect()
    }
}

/// Removes invisible characters and compatibility forms, and keeps the case; `None` if that changes nothing.
fn plain(original: &str) -> Option<Folded<'_>> {
    if is_visible_ascii(original) {
        return None;
    }
    let parts = visible(original).flat_map(|(at, c)| std::iter::once(c).nfkc().map(move |part| (part, at)));
    let plain = Folded::of(original, parts.collect());
    (plain.text != original).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::masked, *};

    #[test]
    fn patterns_are_found_and_masked() {
        let cards = || ContentFilter::patterns([r"\b\d{4}(?: ?\d{4}){3}\b", "(?i)secret"]);
        assert!(
            cards().matcher.match_in("pay 4111 1111 1111 1111 now") && cards().matcher.match_in("SECRETS")
        );
        assert!(!cards().matcher.match_in("pay 411"));
        assert_eq!(masked(cards(), "4111111111111111, a Secret!"), "****************, a ******!");
    }

    #[test]
    fn patterns_match_compatibility_forms_and_skip_invisible_characters() {
        let links = || ContentFilter::patterns([r"(?i)https?://\S+", "\u{200B}{3}"]);
        for text in ["ht\u{200B}tp://é", "ｈｔｔｐ：／／ｅ", "HTTP\u{1}s://x", "a\u{200B}\u{200B}\u{200B}b"]
        {
            assert!(links().matcher.match_in(text), "{text}");
        }
        assert_eq!(masked(links(), "ＡＢ ｈｔ\u{200B}ｔｐ：／／ｅ Ｃ"), "ＡＢ ********* Ｃ");
    }

    #[test]
    #[should_panic(expected = "a pattern of a content filter can't be used")]
    fn an_invalid_pattern_panics() {
        ContentFilter::patterns(["("]);
    }
}
