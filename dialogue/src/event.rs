//! Events: what people say to each other in a room.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Retention, wire::Detail};

/// Something that happens in a room: a struct or an enum with [`#[dialogue::event]`](macro@crate::event).
///
/// The attribute implements this trait; there is no need to do so by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a dialogue event",
    label = "not an event",
    note = "annotate `{Self}` with `#[dialogue::event]`"
)]
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name on the wire, such as `new-post`.
    const NAME: &'static str;

    /// What is kept of it, and who may miss it.
    const CLASS: DeliveryClass = DeliveryClass::Durable;

    /// Who may send it.
    const SENDER: Sender = Sender::Anyone;

    /// Whether its payload is a JSON object, as a struct with named fields is.
    const IS_OBJECT: bool = false;

    /// The definition as written, which goes into the hash that `connected` tells clients.
    const SHAPE: &'static str = "";

    /// What is kept of it, where that is less than the room retains; [`Retention::bytes`] counts for nothing here.
    const RETENTION: Option<Retention> = None;

    /// True if the type reads every value of itself back from its own JSON. Where it may not (a float may be `NaN`, which
    /// JSON lacks), each event is read back before it is accepted.
    const READS_BACK: bool = false;

    /// What a newer event of a [`DeliveryClass::Latest`] class replaces an older one by.
    fn conflation_key(&self) -> Option<String> {
        None
    }

    /// Checks the rules of [`Validate`](trait@crate::Validate).
    ///
    /// # Errors
    ///
    /// One [`Detail`] for each rule that is broken, at most [`Violations::MAX`](crate::Violations::MAX).
    fn check(&self) -> Result<(), Vec<Detail>> {
        Ok(())
    }
}

/// An [`Event`] that clients may send; those with `from = server` aren't.
#[diagnostic::on_unimplemented(
    message = "clients may not send `{Self}`: only the server does",
    label = "declared with `from = server`",
    note = "trigger it in server code, or drop `from = server` from its `#[dialogue::event(…)]`"
)]
pub trait ClientEvent: Event {}

/// What is kept of an event, and who may miss it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryClass {
    /// Numbered, kept as long as the room retains it, and resumed: the default.
    Durable,
    /// Numbered and kept likewise, but who is slow or was away gets only the newest of each key.
    Latest,
    /// Never stored or replayed, and the first to go when a reader is slow.
    Ephemeral,
}

/// Who may send an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sender {
    /// Every member of the room, and the server.
    Anyone,
    /// The server alone.
    Server,
}

#[cfg(test)]
mod tests {
    use super::Event;

    #[crate::event]
    struct Text {
        text: String,
        times: Vec<Option<u64>>,
    }

    #[crate::event]
    struct Measured {
        value: f64,
    }

    #[crate::event]
    struct Torn {
        #[serde(default, skip_serializing)]
        text: String,
    }

    #[crate::event]
    struct TornUnderACondition {
        #[cfg_attr(test, serde(default, skip_serializing))]
        text: String,
    }

    #[test]
    fn a_type_that_may_not_read_itself_back_is_known_by_its_fields_and_attributes() {
        let torn = (Torn { text: String::new() }, TornUnderACondition { text: String::new() });
        assert_eq!(torn.0.text, torn.1.text);
        let known =
            [Text::READS_BACK, Measured::READS_BACK, Torn::READS_BACK, TornUnderACondition::READS_BACK];
        assert_eq!(known, [true, false, false, false]);
    }
}
