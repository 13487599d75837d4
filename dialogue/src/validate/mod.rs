//! Validation of payloads: the rules that an event must satisfy before it reaches a room.
//!
//! [`Validate`] is the trait; [`#[dialogue::event]`](macro@crate::event) and
//! [`#[derive(Validate)]`](derive@crate::Validate) implement it from `#[validate(…)]` attributes. [`Violations`]
//! collects the rules that a value breaks.

mod containers;
mod violations;

pub use violations::Violations;

/// A value that can check itself: an event, or a struct or an enum inside one.
///
/// [`#[derive(dialogue::Validate)]`](derive@crate::Validate) implements it from `#[validate(…)]` attributes on fields,
/// which the derive's page lists; [`#[dialogue::event]`](macro@crate::event) derives it by itself. The server validates
/// an event after decoding it and before any middleware sees it. A broken rule refuses the event with
/// [`Code::ValidationFailed`](crate::Code::ValidationFailed) and one [`Detail`](crate::wire::Detail) for each rule that
/// is broken.
///
/// ```
/// use dialogue::{Event, Validate};
///
/// #[dialogue::event]
/// #[serde(rename_all = "camelCase")]
/// pub struct Poll {
///     #[validate(length(min = 1, max = 200))]
///     pub question: String,
///     #[validate(length(min = 2, max = 10), nested)]
///     pub poll_options: Vec<Choice>,
/// }
///
/// #[derive(serde::Serialize, serde::Deserialize, Validate)]
/// pub struct Choice {
///     #[validate(length(min = 1, max = 80), custom(function = one_line))]
///     pub label: String,
/// }
///
/// fn one_line(text: &str) -> Result<(), &'static str> {
///     if text.contains('\n') { Err("must be one line") } else { Ok(()) }
/// }
///
/// let choice = |label: &str| Choice { label: label.to_owned() };
/// let poll = Poll { question: "Lunch?".into(), poll_options: vec![choice("Soup"), choice("")] };
/// let details = poll.check().unwrap_err();
/// assert_eq!(details[0].path, "/pollOptions/1/label");
/// assert_eq!(details[0].message, "length must be between 1 and 80");
/// ```
///
/// # By hand
///
/// An implementation adds what it finds to [`Violations`]: rules that involve several fields, or the findings of
/// another library. An event takes the option `validate` then, as `#[dialogue::event]` implements the trait otherwise;
/// a type inside an event needs `#[validate(nested)]` on the field that holds it.
///
/// ```
/// use dialogue::{Event, Validate, validate::Violations};
///
/// #[dialogue::event(validate)]
/// pub struct Booking {
///     pub from: u64,
///     pub until: u64,
///     pub seats: Vec<String>,
/// }
///
/// impl Validate for Booking {
///     fn validate(&self, found: &mut Violations) {
///         if self.until <= self.from {
///             found.add("/until", "must be after `from`");
///         }
///         for (index, seat) in self.seats.iter().enumerate() {
///             if let Err(error) = seat.parse::<u16>() {
///                 found.add(&format!("/seats/{index}"), error);
///             }
///         }
///     }
/// }
///
/// let details = Booking { from: 5, until: 3, seats: vec!["7".into(), "x".into()] }.check().unwrap_err();
/// assert_eq!(details[0].path, "/until");
/// assert_eq!(details[1].path, "/seats/1");
/// assert_eq!(details[1].message, "invalid digit found in string");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no rules that could be checked",
    label = "doesn't implement `dialogue::Validate`",
    note = "put `#[derive(dialogue::Validate)]` on `{Self}` and rules on its fields, or implement `dialogue::Validate` by hand"
)]
pub trait Validate {
    /// Adds every rule that the value breaks to `found`.
    ///
    /// This runs for every event that is received: a valid value should cost no allocation, and nothing here may block.
    fn validate(&self, found: &mut Violations);
}
