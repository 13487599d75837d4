//! The events of one moment, encoded once for all who read them.

use std::{
    cell::{Cell, OnceCell, RefCell},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;

use super::RoomDecl;
use crate::{
    log::Record,
    observe::Meter,
    wire::{Encoding, EventSet, put_id, stream_position},
};

/// Some events of one room, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    room: Arc<RoomDecl>,
    room_id: Arc<str>,
    epoch: Arc<str>,
    events: Vec<Arc<Record>>,
    /// Which kinds of event are in it.
    kinds: EventSet,
    websocket: OnceCell<Encoded>,
    sse: OnceCell<Encoded>,
    /// The WebSocket bytes of those who want only some of it: rooms have few different subscriptions.
    cuts: RefCell<Vec<(EventSet, Bytes)>>,
    /// Which of its events came in when, of those that are measured.
    origins: Vec<(u8, Instant)>,
    /// To how many readers its events were handed, all together.
    handed: Cell<u64>,
}

/// All events of a batch in one encoding.
#[derive(Debug)]
struct Encoded {
    bytes: Bytes,
    spans: Vec<Range<usize>>,
}

impl Batch {
    pub(crate) fn new(room: Arc<RoomDecl>, room_id: Arc<str>, epoch: Arc<str>) -> Self {
        Batch {
            room,
            room_id,
            epoch,
            events: Vec::new(),
            kinds: EventSet::NONE,
            websocket: OnceCell::new(),
            sse: OnceCell::new(),
            cuts: RefCell::default(),
            origins: Vec::new(),
            handed: Cell::new(0),
        }
    }

    pub(crate) fn push(&mut self, record: Arc<Record>) {
        self.kinds = self.kinds.with(record.event);
        self.events.push(record);
    }

    /// Event `event` of it came in at that time.
    pub(crate) fn came(&mut self, event: u8, at: Option<Instant>) {
        self.origins.extend(at.map(|at| (event, at)));
    }

    /// A reader of `wanted` gets it.
    pub(crate) fn hand(&self, wanted: EventSet) {
        if !self.room.meter.is_on() {
            return;
        }
        let events = match wanted.covers(self.kinds) {
            true => self.events.len(),
            false => self.events.iter().filter(|record| wanted.contains(record.event)).count(),
        };
        self.handed.set(self.handed.get() + u64::try_from(events).unwrap_or(0));
    }

    /// All readers have been written to.
    pub(crate) fn delivered(&self) {
        self.room.meter.delivered(&self.origins, self.handed.get());
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

    /// What a WebSocket reader of `wanted` gets: one run of bytes, shared by all who want the same.
    pub(crate) fn websocket(&self, wanted: EventSet) -> Bytes {
        let all = self.encoded(Encoding::WebSocket);
        if wanted.covers(self.kinds) {
            return all.bytes.clone();
        }
        let mut cuts = self.cuts.borrow_mut();
        if let Some((_, bytes)) = cuts.iter().find(|(set, _)| *set == wanted) {
            return bytes.clone();
        }
        let mut bytes = Vec::new();
        for (record, span) in self.events.iter().zip(&all.spans) {
            if wanted.contains(record.event) {
                bytes.extend_from_slice(all.bytes.get(span.clone()).unwrap_or_default());
            }
        }
        let bytes = Bytes::from(bytes);
        cuts.push((wanted, bytes.clone()));
        bytes
    }

    /// The events that a reader of `wanted` gets, each by itself: for readers that fall behind, and for streams.
    pub(crate) fn each(
        &self,
        encoding: Encoding,
        wanted: EventSet,
    ) -> impl Iterator<Item = (&Arc<Record>, Bytes)> {
        let all = self.encoded(encoding);
        self.events
            .iter()
            .zip(&all.spans)
            .filter(move |(record, _)| wanted.contains(record.event))
            .map(|(record, span)| (record, all.bytes.slice(span.clone())))
    }

    /// What a stream is resumed by once it has `record`; ephemeral events move nothing.
    pub(crate) fn stream_position(&self, record: &Record) -> Option<String> {
        Some(stream_position(&self.room_id, &self.epoch, record.seq?, record.event_id.as_str()))
    }

    /// In an event stream, the `id:` line is not in it: that depends on the other rooms of the stream.
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

/// The `id:` line of a stream of one room or several.
pub(crate) fn id_line(positions: &[Box<str>]) -> Bytes {
    let known: Vec<&str> =
        positions.iter().map(|position| &**position).filter(|known| !known.is_empty()).collect();
    let mut line = Vec::with_capacity(64 * known.len());
    put_id(&mut line, known.join(";").as_bytes());
    line.into()
}
