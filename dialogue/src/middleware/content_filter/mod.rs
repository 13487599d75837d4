//! Middleware that blocks or masks words and patterns in the text of events.

mod folded;
#[cfg(feature = "regex")]
mod patterns;
mod words;

use std::{
    fmt,
    ops::Range,
    panic::{RefUnwindSafe, UnwindSafe},
};

use super::{Cx, Flow, Middleware, Next};
use crate::{Event, Refusal, Room, event::Filtered};
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
    matcher: Box<dyn Matcher>,
    masks: bool,
    reason: &'static str,
}

/// Finds what a filter blocks or masks.
trait Matcher: fmt::Debug + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// Returns whether `text` contains a match.
    fn match_in(&self, text: &str) -> bool;

    /// Returns the byte ranges of all matches in `text`, which may overlap.
    fn ranges(&self, text: &str) -> Vec<Range<usize>>;
}

impl ContentFilter {
    /// Creates a filter of words and phrases. Empty ones are ignored.
    ///
    /// # Panics
    ///
    /// If the automaton of the words is larger than its library supports, 2 GiB.
    pub fn words<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Self {
        ContentFilter::new(Words::new(words))
    }

    fn new(matcher: impl Matcher + 'static) -> Self {
        let reason = "the text contains a blocked word or pattern";
        ContentFilter { matcher: Box::new(matcher), masks: false, reason }
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
}

/// Replaces each character within `ranges`, which may overlap, by `*`.
fn mask(text: &mut String, mut ranges: Vec<Range<usize>>) {
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
            true => mask(text, self.matcher.ranges(text)),
            false => found |= self.matcher.match_in(text),
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

    pub(super) fn masked(filter: ContentFilter, text: &str) -> String {
        let (ranges, mut text) = (filter.matcher.ranges(text), text.to_owned());
        mask(&mut text, ranges);
        text
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
}
