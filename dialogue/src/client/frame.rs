//! Reading the frames that carry events.

use crate::{
    event::Unreadable,
    wire::frame::{Event, History},
};

/// Parses an `event` frame; a frame of another version may be unreadable.
pub(crate) fn read_event(frame: &str) -> Result<Event<'static>, Box<Unreadable>> {
    serde_json::from_str(frame).map_err(|error| Box::new(Unreadable::of(frame, &error)))
}

/// Returns the events of a page of the history, in its order.
pub(crate) fn read_events(
    page: &History<'_>,
) -> impl ExactSizeIterator<Item = Result<Event<'static>, Box<Unreadable>>> {
    page.events.iter().map(|event| read_event(event.get()))
}

/// Returns the `before` of the next page, if there is one.
pub(crate) fn next_before(page: &History<'_>) -> Option<u64> {
    // A server that omits `next` sends no empty page before the last one.
    let seq = |event: Result<Event<'static>, Box<Unreadable>>| {
        event.map_or_else(|unreadable| unreadable.seq, |read| read.seq)
    };
    page.next.or_else(|| read_events(page).filter_map(seq).min()).filter(|_| page.more)
}
