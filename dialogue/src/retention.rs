//! The retention of events: how many of them a log keeps, and for how long.

use std::time::Duration;

/// The retention of a log: bounds by number, size and age, of which the first that is reached trims the log.
///
/// Without any bound, a log keeps 1,000 events or 1 MiB, enough for a client to resume after a short disconnection.
/// With only an age, it keeps at most 100,000 events or 64 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// The maximum of events.
    pub events: Option<u64>,
    /// The maximum of bytes of encoded events.
    pub bytes: Option<u64>,
    /// The maximum age of an event.
    pub age: Option<Duration>,
    /// True if the log keeps all events.
    pub forever: bool,
}

impl Retention {
    /// Returns a retention without any bound of its own, for which the defaults apply.
    #[expect(
        clippy::new_without_default,
        reason = "a constant is made with it, and `default` is no `const fn`"
    )]
    pub const fn new() -> Self {
        Retention { events: None, bytes: None, age: None, forever: false }
    }

    /// Sets the maximum of events.
    pub const fn events(mut self, events: u64) -> Self {
        self.events = Some(events);
        self
    }

    /// Sets the maximum of bytes of encoded events.
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Sets the maximum age of an event.
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// Keeps all events, for a log that is to be audited. The server then needs a store.
    pub const fn forever(mut self) -> Self {
        self.forever = true;
        self
    }
}
