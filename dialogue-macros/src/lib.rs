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

use proc_macro::TokenStream;

/// Makes a struct or an enum an event that rooms carry.
///
/// It derives serde's traits (and `validator`'s where a field has `#[validate(…)]`), so that nothing but `dialogue`
/// needs to be depended on, and implements `Event`: the wire name is the type's name in kebab case.
///
/// | option | meaning |
/// |---|---|
/// | `name = "new-post"` | another name on the wire |
/// | `ephemeral` | never stored or replayed, and the first to go when a reader is slow |
/// | `latest = field` | numbered and kept, but who is slow or was away gets only the newest for each value of the field |
/// | `retain(events = 100, age = 1h)` | what is kept of it, where that is less than the room retains |
/// | `from = server` | clients may not send it |
/// | `#[filter]` on a field | its text is for filters to read; `#[filter(skip)]` says of one that it isn't |
/// | `push(title = "{field} …", body = "…")` | how it reads as a notification, for rooms that are served over `webpush`: see below |
/// | `crate = path` | where `dialogue` is, when something else re-exports it; a renamed dependency is found without |
///
/// In `push(…)`, texts have fields in them as in `format!`; they must be `Display`. Who needs more than that (another text
/// for each language, say) implements `dialogue::Notification` by hand instead.
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

/// `($crate) body`: what `dialogue::rooms!` forwards to.
#[doc(hidden)]
#[proc_macro]
pub fn __rooms(input: TokenStream) -> TokenStream {
    let sides = rooms::Sides { server: cfg!(feature = "server"), client: cfg!(feature = "client") };
    rooms::expand(input.into(), sides).into()
}
