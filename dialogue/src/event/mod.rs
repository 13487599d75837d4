//! Events: the trait that `#[dialogue::event]` implements, the delivery classes, and events as readers receive them.

mod delivery;
mod filtered;
#[cfg(any(feature = "server", feature = "client"))]
mod sending;

pub use delivery::{Delivery, Unreadable};
pub use filtered::Filtered;
#[cfg(any(feature = "server", feature = "client"))]
pub use sending::Sending;

use serde::{Serialize, de::DeserializeOwned};

use crate::{retention::Retention, wire::Detail};

/// Something that happens in a room: a struct or an enum with [`#[dialogue::event]`](macro@crate::event).
///
/// The attribute implements this trait; there is no need to do so by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a dialogue event",
    label = "not an event",
    note = "annotate `{Self}` with `#[dialogue::event]`"
)]
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name of the event on the wire, such as `new-post`.
    const NAME: &'static str;

    /// The delivery class: which events the log keeps, and which a slow reader may miss.
    const CLASS: DeliveryClass = DeliveryClass::Durable;

    /// The senders that may trigger the event.
    const SENDER: Sender = Sender::Anyone;

    /// True if the payload is a JSON object, as that of a struct with named fields is.
    const IS_OBJECT: bool = false;

    /// The type's definition as it is written in the source. It is part of the schema hash that `connected` tells
    /// clients.
    const SHAPE: &'static str = "";

    /// The retention of events of this type, where it is less than the room's. [`Retention::bytes`] has no effect here.
    const RETENTION: Option<Retention> = None;

    /// True if every value of the type survives a round trip through its own JSON. Where that isn't sure (a float may
    /// be `NaN`, which JSON lacks), the server decodes each event once more before it accepts it.
    const READS_BACK: bool = false;

    /// Returns the key of an event of class [`DeliveryClass::Latest`]: a newer event of the same key replaces an older
    /// one.
    fn conflation_key(&self) -> Option<String> {
        None
    }

    /// Validates the event by its [`Validate`](trait@crate::Validate) rules.
    ///
    /// # Errors
    ///
    /// One [`Detail`] for each broken rule, at most [`Violations::MAX`](crate::validate::Violations::MAX).
    fn check(&self) -> Result<(), Vec<Detail>> {
        Ok(())
    }
}

/// An [`Event`] that clients may send: one that isn't declared with `from = server`.
#[diagnostic::on_unimplemented(
    message = "clients may not send `{Self}`: only the server does",
    label = "declared with `from = server`",
    note = "trigger it in server code, or drop `from = server` from its `#[dialogue::event(…)]`"
)]
pub trait ClientEvent: Event {}

/// The delivery class of an event: whether the log keeps it, and whether a slow reader may miss it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryClass {
    /// The log numbers the event, keeps it as long as the room's retention says, and replays it on resume. The default.
    Durable,
    /// Like `Durable`, but a reader that is slow or was away receives only the newest event of each key (conflation).
    Latest,
    /// The event has no number, and is neither stored nor replayed. It is dropped first when a reader is slow.
    Ephemeral,
}

/// The senders that may trigger an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sender {
    /// Every member of the room, and the server.
    Anyone,
    /// Only the server.
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
