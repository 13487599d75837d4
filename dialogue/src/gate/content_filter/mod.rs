//! What isn't said.

mod folded;
mod words;

#[cfg(feature = "regex")]
use regex::{Regex, RegexSet};

use super::{Cx, Flow, Middleware, Next};
use crate::{Event, Filtered, Refusal, Room};
#[cfg(feature = "regex")]
use folded::Folded;
use words::Words;

/// Blocks events whose text holds what isn't said, or masks it: many words at the cost of one pass over the text, or regular
/// expressions.
///
/// It reads the fields that the event marks with `#[filter]`: see [`Filtered`]. An event that marks none, and has text, does
/// not compile behind it. A match is refused with `BLOCKED`; or, [`masked`](Self::masked), each of its characters becomes
/// `*`. Server code's events and those of server keys are read like everybody's.
///
/// Words are found as whole words, in any case, by Unicode: `spam` is found in `(SPAM)` and not in `spammer`, `straße` in
/// `STRASSE`. In scripts that are written without spaces, such as Chinese or Thai, a word is found wherever it stands.
/// Characters that are invisible between others (soft hyphens, zero-width and control characters, all that Unicode calls
/// default-ignorable) part no word, and compatibility forms such as full-width letters are the letters that they show. Patterns
/// are tried on the text as it is, and once more without the one and the other. A mask changes nothing but what it masks.
///
/// ```
/// use dialogue::{ContentFilter, prelude::*};
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
    finds: Finds,
    masks: bool,
    reason: &'static str,
}

#[derive(Debug)]
enum Finds {
    Words(Words),
    #[cfg(feature = "regex")]
    Patterns {
        all: RegexSet,
        each: Vec<Regex>,
    },
}

impl ContentFilter {
    /// Finds words and phrases. Empty ones are left out.
    ///
    /// # Panics
    ///
    /// If the words take more memory than there can be: over 2 GiB.
    pub fn words<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Self {
        ContentFilter::new(Finds::Words(Words::new(words)))
    }

    /// Finds regular expressions, in the syntax of the crate `regex` (feature `regex`). Matching takes time linear in the
    /// text; `(?i)` makes one ignore case.
    ///
    /// ```
    /// # use dialogue::ContentFilter;
    /// let card_numbers = ContentFilter::patterns([r"\b\d{4}(?: ?\d{4}){3}\b"]).masked();
    /// ```
    ///
    /// # Panics
    ///
    /// If one is no regular expression, or too large a one: when the server is built, that is.
    #[cfg(feature = "regex")]
    pub fn patterns<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let sources: Vec<P> = patterns.into_iter().collect();
        let all = RegexSet::new(&sources);
        let each: Result<Vec<Regex>, _> = sources.iter().map(|source| Regex::new(source.as_ref())).collect();
        match (all, each) {
            (Ok(all), Ok(each)) => ContentFilter::new(Finds::Patterns { all, each }),
            (Err(error), _) | (_, Err(error)) => {
                panic!("a pattern of a content filter can't be used: {error}")
            }
        }
    }

    fn new(finds: Finds) -> Self {
        ContentFilter { finds, masks: false, reason: "this isn't said here" }
    }

    /// Puts `*` in the place of each character of what it finds, and lets the event pass.
    #[must_use]
    pub fn masked(self) -> Self {
        ContentFilter { masks: true, ..self }
    }

    /// What the sender of a blocked event is told.
    #[must_use]
    pub fn reason(self, reason: &'static str) -> Self {
        ContentFilter { reason, ..self }
    }

    fn finds(&self, text: &str) -> bool {
        match &self.finds {
            Finds::Words(words) => words.are_in(text),
            #[cfg(feature = "regex")]
            Finds::Patterns { all, .. } => {
                all.is_match(text) || Folded::plainer(text).is_some_and(|plainer| all.is_match(&plainer.text))
            }
        }
    }

    fn mask(&self, text: &mut String) {
        match &self.finds {
            Finds::Words(words) => put_stars(text, words.ranges(text)),
            #[cfg(feature = "regex")]
            Finds::Patterns { all, each } => {
                let mut ranges = found(all, each, text);
                if let Some(plainer) = Folded::plainer(text) {
                    let found = found(all, each, &plainer.text);
                    ranges.extend(found.into_iter().map(|range| plainer.origin(range.start, range.end)));
                }
                put_stars(text, ranges);
            }
        }
    }
}

/// Where patterns match.
#[cfg(feature = "regex")]
fn found(all: &RegexSet, each: &[Regex], text: &str) -> Vec<std::ops::Range<usize>> {
    let matched = all.matches(text).into_iter().filter_map(|index| each.get(index));
    matched.flat_map(|pattern| pattern.find_iter(text)).map(|found| found.range()).collect()
}

/// A star for each character of `ranges`, which may overlap.
fn put_stars(text: &mut String, mut ranges: Vec<std::ops::Range<usize>>) {
    if ranges.is_empty() {
        return;
    }
    ranges.sort_unstable_by_key(|range| range.start);
    let (mut ahead, mut until) = (ranges.into_iter().peekable(), 0);
    let star = |(at, c)| {
        while let Some(range) = ahead.next_if(|range| range.start <= at) {
            until = range.end.max(until);
        }
        if at < until { '*' } else { c }
    };
    *text = text.char_indices().map(star).collect();
}

impl<R: Room, E: Event + Filtered> Middleware<R, E> for ContentFilter {
    async fn handle(&self, cx: &Cx<R>, mut event: E, next: impl Next<R, E>) -> Flow {
        let mut found = false;
        event.each_text(&mut |text| match self.masks {
            true => self.mask(text),
            false => found |= self.finds(text),
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
        assert!(cards().finds("pay 4111 1111 1111 1111 now") && cards().finds("SECRETS"));
        assert!(!cards().finds("pay 411"));
        assert_eq!(masked(cards(), "4111111111111111, a Secret!"), "****************, a ******!");
    }

    #[test]
    fn a_mask_is_as_long_as_what_it_masks() {
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
    fn patterns_see_through_forms_and_what_is_invisible() {
        let links = || ContentFilter::patterns([r"(?i)https?://\S+", "\u{200B}{3}"]);
        for text in ["ht\u{200B}tp://é", "ｈｔｔｐ：／／ｅ", "HTTP\u{1}s://x", "a\u{200B}\u{200B}\u{200B}b"]
        {
            assert!(links().finds(text), "{text}");
        }
        assert_eq!(masked(links(), "ＡＢ ｈｔ\u{200B}ｔｐ：／／ｅ Ｃ"), "ＡＢ ********* Ｃ");
    }

    #[cfg(feature = "regex")]
    #[test]
    #[should_panic(expected = "a pattern of a content filter can't be used")]
    fn a_bad_pattern_is_told_of_at_once() {
        ContentFilter::patterns(["("]);
    }
}
