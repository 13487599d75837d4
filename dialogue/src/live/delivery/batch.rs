//! Batches: events that were committed together, encoded once per encoding and shared by all subscriptions.

use std::{
    cell::{Cell, OnceCell, RefCell},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;

use crate::{
    live::RoomSpec,
    log::Record,
    observe::Meter,
    wire::{Encoding, EventIndex, EventSet, put_id, stream_position},
};

/// The events of one commit in a room, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    room: Arc<RoomSpec>,
    room_id: Arc<str>,
    epoch: Arc<str>,
    events: Vec<Arc<Record>>,
    /// The kinds of the events.
    kinds: EventSet,
    websocket: OnceCell<Encoded>,
    sse: OnceCell<Encoded>,
    /// The WebSocket bytes for subscriptions to only some of the events: a room has few different ones.
    filtered: RefCell<Vec<(EventSet, Bytes)>>,
    /// The kinds of the events and the times at which they came in, of those that are measured.
    origins: Vec<(EventIndex, Instant)>,
    /// The number of events delivered, summed over all recipients.
    deliveries: Cell<u64>,
}

/// All events of a batch in one encoding.
#[derive(Debug)]
struct Encoded {
    bytes: Bytes,
    spans: Vec<Range<usize>>,
}

impl Batch {
    pub(crate) fn new(room: Arc<RoomSpec>, room_id: Arc<str>, epoch: Arc<str>) -> Self {
        Batch {
            room,
            room_id,
            epoch,
            events: Vec::new(),
            kinds: EventSet::NONE,
            websocket: OnceCell::new(),
            sse: OnceCell::new(),
            filtered: RefCell::default(),
            origins: Vec::new(),
            deliveries: Cell::new(0),
        }
    }

    pub(crate) fn push(&mut self, record: Arc<Record>) {
        self.kinds = self.kinds.with(record.event);
        self.events.push(record);
    }

    /// Notes the time at which an event came in, for the latency metric.
    pub(crate) fn note_origin(&mut self, event: EventIndex, at: Option<Instant>) {
        self.origins.extend(at.map(|at| (event, at)));
    }

    /// Counts the events that a recipient with `filter` gets.
    pub(crate) fn note_recipient(&self, filter: EventSet) {
        if !self.room.meter.is_on() {
            return;
        }
        let events = match filter.covers(self.kinds) {
            true => self.events.len(),
            false => self.events.iter().filter(|record| filter.contains(record.event)).count(),
        };
        self.deliveries.set(self.deliveries.get() + u64::try_from(events).unwrap_or(0));
    }

    /// Reports the batch's metrics, after it was written to all recipients.
    pub(crate) fn delivered(&self) {
        self.room.meter.delivered(&self.origins, self.deliveries.get());
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.room.meter
    }

    pub(crate) fn room_id(&self) -> &Arc<str> {
        &self.room_id
    }

    pub(crate) fn kinds(&self) -> EventSet {
        self.kinds
    }

    pub(crate) fn events(&self) -> &[Arc<Record>] {
        &self.events
    }

    /// Returns the bytes for a WebSocket recipient with `filter`: one buffer, shared by all that want the same.
    // Inlined, since it is called for each delivery.
    #[inline]
    pub(crate) fn websocket(&self, filter: EventSet) -> Bytes {
        let all = self.encoded(Encoding::WebSocket);
        if filter.covers(self.kinds) { all.bytes.clone() } else { self.filtered(all, filter) }
    }

    /// Returns the bytes for a WebSocket recipient that wants only some of the events.
    fn filtered(&self, all: &Encoded, filter: EventSet) -> Bytes {
        let mut filtered = self.filtered.borrow_mut();
        if let Some((_, bytes)) = filtered.iter().find(|(set, _)| *set == filter) {
            return bytes.clone();
        }
        let mut bytes = Vec::new();
        for (record, span) in self.events.iter().zip(&all.spans) {
            if filter.contains(record.event) {
                bytes.extend_from_slice(all.bytes.get(span.clone()).unwrap_or_default());
            }
        }
        let bytes = Bytes::from(bytes);
        filtered.push((filter, bytes.clone()));
        bytes
    }

    /// Returns the events for a recipient with `filter` one by one: for recipients that fall behind, and for event
    /// streams.
    pub(crate) fn each(
        &self,
        encoding: Encoding,
        filter: EventSet,
    ) -> impl Iterator<Item = (&Arc<Record>, Bytes)> {
        let all = self.encoded(encoding);
        self.events
            .iter()
            .zip(&all.spans)
            .filter(move |(record, _)| filter.contains(record.event))
            .map(|(record, span)| (record, all.bytes.slice(span.clone())))
    }

    /// Returns the position in an event stream after `record`; `None` for an ephemeral event, which moves no position.
    pub(crate) fn stream_position(&self, record: &Record) -> Option<String> {
        Some(stream_position(&self.room_id, &self.epoch, record.seq?, record.event_id.as_str()))
    }

    /// The SSE encoding excludes the `id:` line, which depends on the stream's other rooms.
    fn encoded(&self, encoding: Encoding) -> &Encoded {
        let cell = match encoding {
            Encoding::WebSocket => &self.websocket,
            Encoding::Sse => &self.sse,
        };
        cell.get_or_init(|| {
            let size: usize = self.events.iter().map(|record| record.json.len() + 96).sum();
            let mut bytes = Vec::with_capacity(size);
            let mut spans = Vec::with_capacity(self.events.len());
            for record in &self.events {
                let start = bytes.len();
                encoding.put_event(&mut bytes, self.room.event_name(record.event), &record.json);
                spans.push(start..bytes.len());
            }
            Encoded { bytes: bytes.into(), spans }
        })
    }
}

/// Returns the `id:` line of an event stream of one or several rooms.
pub(crate) fn id_line(positions: &[Box<str>]) -> Bytes {
    let known: Vec<&str> =
        positions.iter().map(|position| &**position).filter(|known| !known.is_empty()).collect();
    let mut line = Vec::with_capacity(64 * known.len());
    put_id(&mut line, known.join(";").as_bytes());
    line.into()
}
