//! The rules of `#[validate(…)]`, as functions that the derive calls. A rule takes the field's path (a JSON Pointer
//! below the struct), the declared message, and the field; and adds a violation if the field breaks it. An absent value
//! (`None`) satisfies every rule but [`required`].

mod custom;
mod email;
mod length;
mod range;
mod text;
mod url;

use std::{fmt, net};

pub use custom::{Verdict, custom, custom_option, schema};
pub use length::{HasLength, length};
pub use range::{InRange, range};
pub use text::HasText;

use crate::validate::{Validate, Violations};

/// `contains(pattern = "…")`
#[inline]
pub fn contains<T: HasText>(found: &mut Violations, at: At, message: Message, value: &T, pattern: &str) {
    if value.text().is_some_and(|text| !text.contains(pattern)) {
        broken(found, at, message, &format_args!("must contain `{pattern}`"));
    }
}

/// `does_not_contain(pattern = "…")`
#[inline]
pub fn does_not_contain<T: HasText>(
    found: &mut Violations,
    at: At,
    message: Message,
    value: &T,
    pattern: &str,
) {
    if value.text().is_some_and(|text| text.contains(pattern)) {
        broken(found, at, message, &format_args!("must not contain `{pattern}`"));
    }
}

/// `non_control_character`
#[inline]
pub fn non_control_character<T: HasText>(found: &mut Violations, at: At, message: Message, value: &T) {
    if value.text().is_some_and(|text| text.contains(char::is_control)) {
        broken(found, at, message, &"must not contain control characters");
    }
}

/// `email`
#[inline]
pub fn email<T: HasText>(found: &mut Violations, at: At, message: Message, value: &T) {
    if value.text().is_some_and(|text| !email::is_email(text)) {
        broken(found, at, message, &"must be an email address");
    }
}

/// `url`
#[inline]
pub fn url<T: HasText>(found: &mut Violations, at: At, message: Message, value: &T) {
    if value.text().is_some_and(|text| !url::is_url(text)) {
        broken(found, at, message, &"must be a URL that begins with http://, https://, ws:// or wss://");
    }
}

/// `ip`
#[inline]
pub fn ip<T: HasText>(found: &mut Violations, at: At, message: Message, value: &T) {
    if value.text().is_some_and(|text| text.parse::<net::IpAddr>().is_err()) {
        broken(found, at, message, &"must be an IP address");
    }
}

/// `ipv4`
#[inline]
pub fn ipv4<T: HasText>(found: &mut Violations, at: At, message: Message, value: &T) {
    if value.text().is_some_and(|text| text.parse::<net::Ipv4Addr>().is_err()) {
        broken(found, at, message, &"must be an IPv4 address");
    }
}

/// `ipv6`
#[inline]
pub fn ipv6<T: HasText>(found: &mut Violations, at: At, message: Message, value: &T) {
    if value.text().is_some_and(|text| text.parse::<net::Ipv6Addr>().is_err()) {
        broken(found, at, message, &"must be an IPv6 address");
    }
}

/// `must_match(other = field)`; `name` is the other field's on the wire.
#[inline]
pub fn must_match<T: Comparable<U>, U>(
    found: &mut Violations,
    at: At,
    message: Message,
    value: &T,
    other: &U,
    name: &str,
) {
    if !value.equals(other) {
        broken(found, at, message, &format_args!("must be the same as `{name}`"));
    }
}

/// A field that may equal another one.
#[diagnostic::on_unimplemented(
    message = "a `{Self}` can't be the same as a `{U}`",
    label = "can't be compared with the other field",
    note = "`must_match` is for two fields of one type that implements `PartialEq`"
)]
pub trait Comparable<U> {
    /// Returns whether both are the same.
    fn equals(&self, other: &U) -> bool;
}

#[diagnostic::do_not_recommend]
impl<T: PartialEq<U>, U> Comparable<U> for T {
    #[inline]
    fn equals(&self, other: &U) -> bool {
        self == other
    }
}

/// `required`
#[inline]
pub fn required<T: Optional>(found: &mut Violations, at: At, message: Message, value: &T) {
    if !value.is_given() {
        broken(found, at, message, &"is required");
    }
}

/// A field that may be absent.
#[diagnostic::on_unimplemented(
    message = "a `{Self}` is never absent",
    label = "is not an `Option`",
    note = "`required` is for an `Option`: an event without a field of another type can't be decoded and is refused before; for text that may not be empty, write `length(min = 1)`"
)]
pub trait Optional {
    /// Returns whether there is a value.
    fn is_given(&self) -> bool;
}

impl<T> Optional for Option<T> {
    fn is_given(&self) -> bool {
        self.is_some()
    }
}

/// `nested`
#[inline]
pub fn nested<T: Validate + ?Sized>(found: &mut Violations, at: At, value: &T) {
    found.below(at, |found| value.validate(found));
}

/// A JSON Pointer below the value that is being validated.
type At = &'static str;
/// The declared message, which replaces the rule's own.
type Message = Option<&'static str>;

#[cold]
fn broken(found: &mut Violations, at: &str, message: Message, default: &dyn fmt::Display) {
    match message {
        Some(message) => found.add(at, message),
        None => found.add(at, default),
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, sync::Arc};

    use super::*;

    fn messages(rule: impl FnOnce(&mut Violations)) -> Vec<String> {
        let mut found = Violations::default();
        rule(&mut found);
        let details = found.into_result().err().unwrap_or_default();
        details.into_iter().map(|detail| format!("{}: {}", detail.path, detail.message)).collect()
    }

    fn is_valid(rule: impl FnOnce(&mut Violations)) -> bool {
        messages(rule).is_empty()
    }

    #[test]
    fn a_declared_message_replaces_the_rules_own() {
        let own = messages(|found| contains(found, "/a", None, &"b", "x"));
        assert_eq!(own, ["/a: must contain `x`"]);
        let declared = messages(|found| contains(found, "/a", Some("needs an x"), &"b", "x"));
        assert_eq!(declared, ["/a: needs an x"]);
    }

    #[test]
    fn text_is_seen_through_pointers_and_options() {
        let fails = |value: &dyn Fn(&mut Violations)| !is_valid(|found| value(found));
        assert!(fails(&|found| does_not_contain(found, "", None, &Box::new("x"), "x")));
        assert!(fails(&|found| does_not_contain(found, "", None, &Arc::<str>::from("x"), "x")));
        assert!(fails(&|found| does_not_contain(found, "", None, &Cow::Borrowed("x"), "x")));
        assert!(fails(&|found| does_not_contain(found, "", None, &Some(Some("x".to_owned())), "x")));
        assert!(is_valid(|found| contains(found, "", None, &None::<String>, "x")));
        assert!(is_valid(|found| contains(found, "", None, &"axb".to_owned(), "x")));
    }

    #[test]
    fn control_characters_are_those_of_unicode() {
        for text in ["a\nb", "\t", "\u{7f}", "\u{9f}"] {
            assert!(!is_valid(|found| non_control_character(found, "", None, &text)), "{text:?}");
        }
        for text in ["", "आकाश", "2H₂ + O₂ ⇌ 2H₂O", "🏳️‍🌈"] {
            assert!(is_valid(|found| non_control_character(found, "", None, &text)), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_of_their_version() {
        let of = |text: &str| {
            let text = text.to_owned();
            let any = is_valid(|found| ip(found, "", None, &text));
            let v4 = is_valid(|found| ipv4(found, "", None, &text));
            let v6 = is_valid(|found| ipv6(found, "", None, &text));
            (any, v4, v6)
        };
        assert_eq!(of("127.0.0.1"), (true, true, false));
        assert_eq!(of("::1"), (true, false, true));
        assert_eq!(of("2001:db8::ffff:1.2.3.4"), (true, false, true));
        for text in ["", "1.2.3", "256.0.0.1", "01.2.3.4", "[::1]", "::1%eth0", " ::1"] {
            assert_eq!(of(text), (false, false, false), "{text}");
        }
    }

    #[test]
    fn the_other_field_is_named_as_on_the_wire() {
        let message = messages(|found| must_match(found, "/b", None, &"x", &"y", "newPassword"));
        assert_eq!(message, ["/b: must be the same as `newPassword`"]);
        assert!(is_valid(|found| must_match(found, "", None, &Some(1), &Some(1), "a")));
        assert!(!is_valid(|found| must_match(found, "", None, &None, &Some(1), "a")));
    }

    #[test]
    fn what_is_required_is_there() {
        assert_eq!(messages(|found| required(found, "/a", None, &None::<u8>)), ["/a: is required"]);
        assert!(is_valid(|found| required(found, "", None, &Some(0))));
    }
}
