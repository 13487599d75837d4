//! The methods by which the client reads frames of the server, beyond their declaration (`wire::frame`).

use crate::{
    event::Unreadable,
    wire::frame::{Event, History, ServerFrameHeader},
};

impl ServerFrameHeader<'_> {
    /// Returns the id of the request that this frame answers; this client only uses numbers.
    pub(crate) fn number(&self) -> Option<u64> {
        self.id.as_ref().and_then(serde_json::Value::as_u64)
    }
}

impl Event<'static> {
    /// Parses an `event` frame; a frame of another version may be unreadable.
    pub(crate) fn read(frame: &str) -> Result<Self, Box<Unreadable>> {
        serde_json::from_str(frame).map_err(|error| Box::new(Unreadable::of(frame, &error)))
    }

    /// Returns the approximate size in a buffer, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.data.0.len()
            + self.meta.as_ref().map_or(0, |meta| meta.0.len())
            + self.event_id.len()
            + self.from.len()
            + 128
    }
}

impl History<'_> {
    /// Returns the events of the page, in its order.
    pub(crate) fn event_frames(
        &self,
    ) -> impl ExactSizeIterator<Item = Result<Event<'static>, Box<Unreadable>>> {
        self.events.iter().map(|event| Event::read(event.get()))
    }

    /// Returns the `before` of the next page, if there is one.
    pub(crate) fn older(&self) -> Option<u64> {
        // A server that omits `next` sends no empty page before the last one.
        let seq = |event: Result<Event<'static>, Box<Unreadable>>| {
            event.map_or_else(|unreadable| unreadable.seq, |read| read.seq)
        };
        self.next.or_else(|| self.event_frames().filter_map(seq).min()).filter(|_| self.more)
    }
}
