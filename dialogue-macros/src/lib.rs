//! The macros of `dialogue`; use them through that crate.
//!
//! Both go the same way: `syntax` holds what was written and goes on after an error, `model` holds what it means and
//! every rule, `expand` makes the code and cannot fail. Every error is collected and stands last in the output, after
//! as many items as could be made, so that one mistake gives one error and an editor still completes the rest.

mod anchor;
mod diag;
mod event;
mod manifest;
mod options;
mod path;
mod quantity;
mod retain;
mod rooms;
#[cfg(test)]
mod tests;
mod validate;

use proc_macro::TokenStream;

/// Makes a struct or an enum an event that rooms carry.
///
/// It derives serde's traits and [`Validate`](macro@Validate), so that a crate needs no dependency but `dialogue`, and
/// implements `Event`. The wire name is the type's name in kebab case.
///
/// | option | meaning |
/// |---|---|
/// | `name = "new-post"` | another name on the wire; in a room over `sse` not `error` or `open`, for which browsers fire the connection's own listeners |
/// | `ephemeral` | never stored or replayed, and dropped first when a reader is slow |
/// | `latest = field` | numbered and kept, but a reader that is slow or was away receives only the newest event for each value of the field |
/// | `retain(events = 100, age = 1h)` | the retention of events of this type, where it is less than the room's |
/// | `from = server` | clients may not send it |
/// | `#[filter]` on a field | filters read its text; with `#[filter(skip)]` they don't |
/// | `push(title = "{field} …", body = "…")` | its form as a notification, for rooms that are served over `webpush`: see below |
/// | `#[validate(…)]` on a field | a rule that its value must satisfy, from the table of [`Validate`](macro@Validate): `length(min = 1, max = 2000)`, `range(max = 100)`, `email` … |
/// | `validate` | the type has an `impl dialogue::Validate` by hand instead of such rules |
/// | `crate = path` | the path of `dialogue`, if another crate re-exports it; a renamed dependency needs no option |
///
/// Texts in `push(…)` may name fields as `format!` does; these must implement `Display`. An event that needs more (a
/// text for each language, for example) implements `dialogue::notification::PushEvent` by hand instead.
///
/// | push option | meaning | without |
/// |---|---|---|
/// | `title = "…"`, `body = "…"` | the texts | required |
/// | `icon = "…"`, `url = "…"` | the address of a picture; the page that a click opens | none |
/// | `urgency = low`, `normal`, `high` | whether the service may delay it to save the device's battery | normal |
/// | `ttl = 1h` | the time for which the service keeps trying; at most 28 days | 1 day |
/// | `collapse = field` | a newer notification replaces one with the same value that isn't delivered yet or is still shown | none is replaced |
/// | `data`, `data = field` | the notification carries the event, or one field of it, for the app | only the event's position |
/// | `after = 5s` | the time in which a member without a connection may come back; at most 1 hour | 5 s |
/// | `always` | also to members with a connection | only to members without |
#[proc_macro_attribute]
pub fn event(options: TokenStream, item: TokenStream) -> TokenStream {
    event::expand(options.into(), item.into(), &manifest::dialogue()).into()
}

/// Implements the trait `dialogue::Validate` from rules on fields of a struct or an enum.
///
/// Rules are written in `#[validate(…)]`, several separated by commas. `#[dialogue::event]` derives the trait for
/// events; write the derive on types inside them, and `#[validate(nested)]` on the fields that hold those. Macros that
/// read the same attribute (the `JsonSchema` of the crate `schemars`) may be derived beside it.
///
/// | rule | a valid value | fields |
/// |---|---|---|
/// | `length(min = 1, max = 100)`, `length(equal = 6)` | has as many characters (Unicode scalar values) or items; `min`, `max` or both | text, lists, sets, maps |
/// | `range(min = 1, max = 100)` | is in the range; `exclusive_min`, `exclusive_max` leave the bound itself out | integers, floats |
/// | `contains(pattern = "…")`, `does_not_contain(pattern = "…")` | contains that text, or doesn't | text |
/// | `non_control_character` | has no control character (a line break or a tab is one) | text |
/// | `email` | is an address that a browser's `<input type="email">` takes, and mail servers: at most 254 bytes, 64 before the `@` | text |
/// | `url` | is an absolute `http`, `https`, `ws` or `wss` URL with a host (RFC 3986; characters beyond ASCII may stand in it); `javascript:` and others aren't | text |
/// | `ip`, `ipv4`, `ipv6` | is an IP address; also `ip(v4)`, `ip(v6)` | text |
/// | `must_match(other = field)` | equals the other field, which may be `None` in both | all that can be compared |
/// | `required` | is present | `Option` |
/// | `nested` | satisfies the rules of its own type | types that implement `Validate`; lists and map values of them |
/// | `custom(function = path)` | makes a function `fn(&T) -> Result<(), E>` return `Ok`; `E` is `Display`, and becomes the message | all |
/// | `schema(function = path)` on the struct or enum | the same about the whole, once every field is valid; `skip_on_field_errors = false` calls it in any case | |
///
/// Each but `nested` takes `message = "…"`, which replaces the rule's own message. Bounds are literals or constants: of
/// `usize` in `length`, of the field's type in `range`. Rules see through `Option`, `Box`, `Rc`, `Arc`, `Cow` and
/// references. `None` satisfies every rule but `required` (and `must_match` as above); the function of `custom` gets
/// the value in the `Option`, and may take `&str` for a `String`. Text is a `String`, `&str` or `Cow<str>`.
///
/// Paths of violations have the names that serde reads: `rename`, `rename_all`, `flatten` and an enum's `tag` and
/// `content` are honoured.
#[proc_macro_derive(Validate, attributes(validate))]
pub fn validate(item: TokenStream) -> TokenStream {
    validate::expand(item.into(), &manifest::dialogue()).into()
}

/// Expands `($crate) body`, to which `dialogue::rooms!` forwards.
#[doc(hidden)]
#[proc_macro]
pub fn __rooms(input: TokenStream) -> TokenStream {
    let sides = rooms::Sides { server: cfg!(feature = "server"), client: cfg!(feature = "client") };
    rooms::expand(input.into(), sides).into()
}
