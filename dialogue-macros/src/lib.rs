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
/// It derives serde's traits and [`Validate`](macro@Validate), so that nothing but `dialogue` needs to be depended on, and
/// implements `Event`: the wire name is the type's name in kebab case.
///
/// | option | meaning |
/// |---|---|
/// | `name = "new-post"` | another name on the wire; over `sse` not `error` or `open`, which browsers take for the connection's own |
/// | `ephemeral` | never stored or replayed, and the first to go when a reader is slow |
/// | `latest = field` | numbered and kept, but who is slow or was away gets only the newest for each value of the field |
/// | `retain(events = 100, age = 1h)` | what is kept of it, where that is less than the room retains |
/// | `from = server` | clients may not send it |
/// | `#[filter]` on a field | its text is for filters to read; `#[filter(skip)]` says of one that it isn't |
/// | `push(title = "{field} …", body = "…")` | how it reads as a notification, for rooms that are served over `webpush`: see below |
/// | `#[validate(…)]` on a field | a rule that its value must satisfy, from the table of [`Validate`](macro@Validate): `length(min = 1, max = 2000)`, `range(max = 100)`, `email` … |
/// | `validate` | there is an `impl dialogue::Validate` by hand instead of such rules |
/// | `crate = path` | where `dialogue` is, when something else re-exports it; a renamed dependency is found without |
///
/// In `push(…)`, texts have fields in them as in `format!`, which must be `Display`. For more than that (a text for each
/// language, for example), implement `dialogue::PushEvent` by hand instead.
///
/// | push option | meaning | without |
/// |---|---|---|
/// | `title = "…"`, `body = "…"` | what is shown | needed |
/// | `icon = "…"`, `url = "…"` | the address of a picture; where a click leads | none |
/// | `urgency = low`, `normal`, `high` | whether a sleeping device is woken | normal |
/// | `ttl = 1h` | how long providers may try; at most 28 days | 1 day |
/// | `collapse = field` | a newer one takes the place of one with the same value that isn't delivered, or is still shown | each by itself |
/// | `data`, `data = field` | the event, or one field, goes along for the app to read | only where the event stands in the room |
/// | `after = 5s` | how long who is away has time to come back; at most 1 hour | 5 s |
/// | `always` | also to who is connected to the room | to who is away |
#[proc_macro_attribute]
pub fn event(options: TokenStream, item: TokenStream) -> TokenStream {
    event::expand(options.into(), item.into(), &manifest::dialogue()).into()
}

/// Implements the trait `dialogue::Validate` from rules on fields of a struct or an enum.
///
/// Rules stand in `#[validate(…)]`, several separated by commas. `#[dialogue::event]` derives the trait for events; write the
/// derive on types inside them, and `#[validate(nested)]` on the fields that hold those. Macros that read the same attribute
/// (the `JsonSchema` of the crate `schemars`) may be derived beside it.
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
/// | `required` | is there | `Option` |
/// | `nested` | satisfies the rules of its own type | whatever implements `Validate`; lists and values of maps of it |
/// | `custom(function = path)` | is one for which a function `fn(&T) -> Result<(), E>` returns `Ok`, where `E` is `Display` and becomes the message | all |
/// | `schema(function = path)` on the struct or enum | the same about the whole, once every field is valid; `skip_on_field_errors = false` calls it in any case | |
///
/// Each but `nested` takes `message = "…"`, which clients are told in place of the rule's own words. Bounds are literals or
/// constants: of `usize` in `length`, of the field's type in `range`. Rules see through `Option`, `Box`, `Rc`, `Arc`, `Cow` and
/// references. `None` satisfies every rule but `required` (and `must_match` as said); the function of `custom` is given what is
/// in the `Option`, and may take `&str` for a `String`. Text is a `String`, `&str` or `Cow<str>`.
///
/// Paths of what is invalid have the names that serde reads: `rename`, `rename_all`, `flatten` and an enum's `tag` and
/// `content` are honoured.
#[proc_macro_derive(Validate, attributes(validate))]
pub fn validate(item: TokenStream) -> TokenStream {
    validate::expand(item.into(), &manifest::dialogue()).into()
}

/// `($crate) body`: what `dialogue::rooms!` forwards to.
#[doc(hidden)]
#[proc_macro]
pub fn __rooms(input: TokenStream) -> TokenStream {
    let sides = rooms::Sides { server: cfg!(feature = "server"), client: cfg!(feature = "client") };
    rooms::expand(input.into(), sides).into()
}
