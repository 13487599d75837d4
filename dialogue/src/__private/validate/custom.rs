use std::fmt::Display;

use super::{At, Message, Violations, broken};

/// `custom(function = …)`: the function is called by the derive, so that `&String` becomes `&str` where it takes that.
#[inline]
pub fn custom<V: Verdict>(found: &mut Violations, at: At, message: Message, verdict: V) {
    if let Err(reason) = verdict.verdict() {
        broken(found, at, message, &reason);
    }
}

/// `custom(function = …)` on an `Option`, whose function is called with what is in it.
#[inline]
pub fn custom_option<V: Verdict>(found: &mut Violations, at: At, message: Message, verdict: Option<V>) {
    if let Some(verdict) = verdict {
        custom(found, at, message, verdict);
    }
}

/// `schema(function = …)`, which runs if the fields added nothing to the `before` that there were. In a full collection
/// that can't be told, as violations are dropped: the function, which may rely on valid fields, doesn't run then.
#[inline]
pub fn schema<V: Verdict>(
    found: &mut Violations,
    before: usize,
    message: Message,
    function: impl FnOnce() -> V,
) {
    if found.len() == before && !found.is_full() {
        custom(found, "", message, function());
    }
}

/// An answer of a function of one's own.
#[diagnostic::on_unimplemented(
    message = "a `{Self}` doesn't say whether the value is valid, and why not",
    label = "the function returns `{Self}`",
    note = "it has the form `fn name(value: &T) -> Result<(), E>`, where `E` implements `std::fmt::Display`: a `&'static str`, a `String` or an error type; its text is the message"
)]
pub trait Verdict {
    /// The message about an invalid value.
    type Reason: Display;

    /// The answer as a result.
    fn verdict(self) -> Result<(), Self::Reason>;
}

#[diagnostic::do_not_recommend]
impl<E: Display> Verdict for Result<(), E> {
    type Reason = E;

    fn verdict(self) -> Result<(), E> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(rule: impl FnOnce(&mut Violations)) -> Vec<(String, String)> {
        let mut found = Violations::default();
        rule(&mut found);
        let details = found.into_result().err().unwrap_or_default();
        details.into_iter().map(|detail| (detail.path, detail.message)).collect()
    }

    #[test]
    fn the_reason_is_the_message_unless_one_is_declared() {
        let reason = || "7x".parse::<u8>().map(|_| ());
        let own = details(|found| custom(found, "/a", None, reason()));
        assert_eq!(own, [("/a".to_owned(), "invalid digit found in string".to_owned())]);
        let declared = details(|found| custom_option(found, "/a", Some("is no number"), Some(reason())));
        assert_eq!(declared, [("/a".to_owned(), "is no number".to_owned())]);
        assert!(details(|found| custom_option(found, "", None, None::<Result<(), String>>)).is_empty());
    }

    #[test]
    fn the_whole_is_looked_at_when_its_fields_are_valid() {
        let run = |fields: &dyn Fn(&mut Violations)| {
            let mut found = Violations::default();
            found.add("/another", "item");
            let before = found.len();
            fields(&mut found);
            schema(&mut found, before, None, || Err("whole"));
            found.into_result().unwrap_err().pop().unwrap()
        };
        assert_eq!(run(&|_| {}).message, "whole");
        assert_eq!(run(&|found| found.add("/field", "broken")).message, "broken");
    }

    #[test]
    fn the_whole_is_not_looked_at_when_violations_of_its_fields_are_dropped() {
        let mut found = Violations::default();
        (0..Violations::MAX).for_each(|_| found.add("/another", "item"));
        let before = found.len();
        found.add("/field", "broken");
        schema(&mut found, before, None, || -> Result<(), String> {
            panic!("a function about the whole may rely on valid fields")
        });
    }
}
