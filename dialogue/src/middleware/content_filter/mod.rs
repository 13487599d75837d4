//! Middleware that blocks or masks words and patterns in the text of events.

mod folded;
mod words;

#[cfg(feature = "regex")]
use regex::{Regex, RegexSet};

use super::{Cx, Flow, Middleware, Next};
use crate::{Event, Refusal, Room, event::Filtered};
#[cfg(feature = "regex")]
use folded::Folded;
use words::Words;

/// Blocks events whose text contains a listed word or matches a regular expression, or masks the match. Any number of
/// words is found in one pass over the text.
///
/// The filter reads the fields that the event marks with `#[filter]`: see [`Filtered`]. An event that has text but
/// marks no field does not compile with it. An event with a match is refused with `BLOCKED`; after
/// [`masked`](Self::masked), each character of the match is replaced by `*` instead. Events of server code and of
/// server keys are filtered too.
///
/// Words match as whole words, without regard to case, by Unicode's rules: `spam` matches in `(SPAM)` and not in
/// `spammer`, `straße` matches in `STRASSE`. In scripts that are written without spaces, such as Chinese or Thai, a
/// word matches anywhere. Invisible characters (soft hyphens, zero-width and control characters, all of Unicode's
/// default-ignorable code points) are skipped, and compatibility forms, such as full-width letters, match as the
/// letters that they show. Patterns are tried on the original text, and on the text without invisible characters and
/// compatibility forms. Masking leaves the rest of the text unchanged.
///
/// ```
/// use dialogue::{middleware::ContentFilter, prelude::*};
///
/// #[dialogue::event]
/// pub struct Message {
///     #[filter]
///     pub text: String,
/// }
///
/// #[dialogue::event(ephemeral)]
/// pub struct Typing { pub active: bool }
///
/// dialogue::rooms! {
///     chat: [Message, Typing] via [websocket] with [ContentFilter::words(["spam", "buy now"]).masked()];
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct ContentFilter {
    matcher: Matcher,
    masks: bool,
    reason: &'static str,
}

#[derive(Debug)]
enum Matcher {
    Words(Words),
    #[cfg(feature = "regex")]
    Patterns {
        all: RegexSet,
        each: Vec<Regex>,
    },
}

impl ContentFilter {
    /// Creates a filter of words and phrases. Empty ones are ignored.
    ///
    /// # Panics
    ///
    /// If the automaton of the words is larger than its library supports, 2 GiB.
    pub fn words<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Self {
        ContentFilter::new(Matcher::Words(Words::new(words)))
    }

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
    #[cfg(feature = "regex")]
    pub fn patterns<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let sources: Vec<P> = patterns.into_iter().collect();
        let all = RegexSet::new(&sources);
        let each: Result<Vec<Regex>, _> = sources.iter().map(|source| Regex::new(source.as_ref())).collect();
        match (all, each) {
            (Ok(all), Ok(each)) => ContentFilter::new(Matcher::Patterns { all, each }),
            (Err(error), _) | (_, Err(error)) => {
                panic!("a pattern of a content filter can't be used: {error}")
            }
        }
    }

    fn new(matcher: Matcher) -> Self {
        ContentFilter { matcher, masks: false, reason: "the text contains a blocked word or pattern" }
    }

    /// Replaces each character of a match by `*`, and lets the event pass.
    #[must_use]
    pub fn masked(self) -> Self {
        ContentFilter { masks: true, ..self }
    }

    /// Sets the message of the refusal of a blocked event. By default, `the text contains a blocked word or pattern`.
    #[must_use]
    pub fn reason(self, reason: &'static str) -> Self {
        ContentFilter { reason, ..self }
    }

    fn matches(&self, text: &str) -> bool {
        match &self.matcher {
            Matcher::Words(words) => words.match_in(text),
            #[cfg(feature = "regex")]
            Matcher::Patterns { all, .. } => {
                all.is_match(text) || Folded::plain(text).is_some_and(|plain| all.is_match(&plain.text))
            }
        }
    }

    fn mask(&self, text: &mut String) {
        match &self.matcher {
            Matcher::Words(words) => mask_ranges(text, words.ranges(text)),
            #[cfg(feature = "regex")]
            Matcher::Patterns { all, each } => {
                let mut ranges = pattern_ranges(all, each, text);
                if let Some(plain) = Folded::plain(text) {
                    let in_plain = pattern_ranges(all, each, &plain.text);
                    ranges.extend(in_plain.into_iter().map(|range| plain.origin(range.start, range.end)));
                }
                mask_ranges(text, ranges);
            }
        }
    }
}

/// Returns the byte ranges of all matches. The set finds the patterns that match at all, in one pass.
#[cfg(feature = "regex")]
fn pattern_ranges(all: &RegexSet, each: &[Regex], text: &str) -> Vec<std::ops::Range<usize>> {
    let matched = all.matches(text).into_iter().filter_map(|index| each.get(index));
    matched.flat_map(|pattern| pattern.find_iter(text)).map(|found| found.range()).collect()
}

/// Replaces each character within `ranges`, which may overlap, by `*`.
fn mask_ranges(text: &mut String, mut ranges: Vec<std::ops::Range<usize>>) {
    if ranges.is_empty() {
        return;
    }
    ranges.sort_unstable_by_key(|range| range.start);
    let (mut ranges, mut masked_to) = (ranges.into_iter().peekable(), 0);
    let mask = |(at, c)| {
        while let Some(range) = ranges.next_if(|range| range.start <= at) {
            masked_to = range.end.max(masked_to);
        }
        if at < masked_to { '*' } else { c }
    };
    *text = text.char_indices().map(mask).collect();
}

impl<R: Room, E: Event + Filtered> Middleware<R, E> for ContentFilter {
    async fn handle(&self, cx: &Cx<R>, mut event: E, next: impl Next<R, E>) -> Flow {
        let mut found = false;
        event.each_text(&mut |text| match self.masks {
            true => self.mask(text),
            false => found |= self.matches(text),
        });
        if found {
            return Err(Refusal::blocked(self.reason));
        }
        next.run(cx, event).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(filter: ContentFilter, text: &str) -> String {
        let mut text = text.to_owned();
        filter.masked().mask(&mut text);
        text
    }

    #[cfg(feature = "regex")]
    #[test]
    fn patterns_are_found_and_masked() {
        let cards = || ContentFilter::patterns([r"\b\d{4}(?: ?\d{4}){3}\b", "(?i)secret"]);
        assert!(cards().matches("pay 4111 1111 1111 1111 now") && cards().matches("SECRETS"));
        assert!(!cards().matches("pay 411"));
        assert_eq!(masked(cards(), "4111111111111111, a Secret!"), "****************, a ******!");
    }

    #[test]
    fn a_mask_is_as_long_as_its_match() {
        let filter = ContentFilter::words(["straße", "spam", "spam mail"]);
        assert_eq!(masked(filter, "Spam mail aus der STRASSE, Straße"), "********* aus der *******, ******");
    }

    #[test]
    fn a_mask_keeps_the_other_characters() {
        let filter = || ContentFilter::words(["spam", "straße"]);
        assert_eq!(masked(filter(), "ＡＢ ｓｐａｍ ﬁｎ"), "ＡＢ **** ﬁｎ");
        assert_eq!(
            masked(filter(), "\u{200B}é sp\u{AD}am\u{200D}, \u{1}x"),
            "\u{200B}é *****\u{200D}, \u{1}x"
        );
        assert_eq!(masked(filter(), "ＳＴＲＡẞＥ\u{FE0F}"), "******\u{FE0F}");
    }

    #[cfg(feature = "regex")]
    #[test]
    fn patterns_match_compatibility_forms_and_skip_invisible_characters() {
        let links = || ContentFilter::patterns([r"(?i)https?://\S+", "\u{200B}{3}"]);
        for text in ["ht\u{200B}tp://é", "ｈｔｔｐ：／／ｅ", "HTTP\u{1}s://x", "a\u{200B}\u{200B}\u{200B}b"]
        {
            assert!(links().matches(text), "{text}");
        }
        assert_eq!(masked(links(), "ＡＢ ｈｔ\u{200B}ｔｐ：／／ｅ Ｃ"), "ＡＢ ********* Ｃ");
    }

    #[cfg(feature = "regex")]
    #[test]
    #[should_panic(expected = "a pattern of a content filter can't be used")]
    fn an_invalid_pattern_panics() {
        ContentFilter::patterns(["("]);
    }
}
