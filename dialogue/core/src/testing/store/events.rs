//! The events with which stores are tested.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    store::{Append, StoredEvent},
    wire::Id,
};

/// The epoch of logs, unless a test is about epochs.
pub(super) const EPOCH: &str = "k2f9";

/// The time of the first event of a log, in Unix milliseconds. Events come in pairs of the same time, 10 ms apart: see
/// [`time`].
pub(super) const BEGIN: u64 = 1_700_000_000_000;

/// Returns the time of event `seq`.
pub(super) fn time(seq: u64) -> u64 {
    BEGIN + seq / 2 * 10
}

/// Returns the name of event `seq`: two of three are messages.
pub(super) fn name(seq: u64) -> &'static str {
    if seq.is_multiple_of(3) { "task-moved" } else { "message" }
}

/// Returns an ordinary event.
pub(super) fn event(seq: u64) -> StoredEvent {
    StoredEvent {
        seq,
        event_id: Id::fresh(),
        timestamp: time(seq),
        event: name(seq).into(),
        from: "alice".into(),
        from_server: false,
        data: Bytes::from(format!(r#"{{"text":"number {seq:04}"}}"#)),
        meta: None,
        conflation_key: None,
        key: None,
        offset: (seq - 1) * 100,
        digest: None,
    }
}

/// Returns ordinary events of these numbers.
pub(super) fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<StoredEvent> {
    numbers.into_iter().map(event).collect()
}

/// Returns an event with a key.
pub(super) fn keyed(seq: u64, from: &str, key: &str) -> StoredEvent {
    StoredEvent { from: from.into(), key: Some(key.into()), ..event(seq) }
}

/// Returns events that are hard to store: each field empty, long, or full of characters with a meaning in other
/// formats.
pub(super) fn odd() -> Vec<StoredEvent> {
    let text = |text: &str| Some(Arc::<str>::from(text));
    vec![
        StoredEvent {
            from: "anon-ünïcode 👩‍👩‍👧 'quoted\" \\ %_*".into(),
            data: Bytes::from_static("{\"text\":\"ÿ \\u0000 '); DROP TABLE events; -- 名前\"}".as_bytes()),
            meta: text("{\"trace\":\"é\"}"),
            key: text("a key, with 🗝"),
            ..event(1)
        },
        StoredEvent { from_server: true, from: "system".into(), digest: Some([0; 32]), ..event(2) },
        StoredEvent {
            digest: Some(std::array::from_fn(|place| 255 - u8::try_from(place).unwrap_or(0))),
            conflation_key: text("ACME"),
            meta: text("null"),
            key: text(""),
            ..event(3)
        },
        StoredEvent { conflation_key: text(""), data: Bytes::from_static(b"null"), ..event(4) },
        StoredEvent {
            offset: 1 << 52,
            key: text(&"k".repeat(128)),
            meta: text(&meta_of_1_kib()),
            ..event(5)
        },
        StoredEvent {
            from_server: true,
            conflation_key: text("é"),
            meta: text("{}"),
            key: text("e"),
            ..event(6)
        },
    ]
}

fn meta_of_1_kib() -> String {
    format!("\"{}\"", "m".repeat(1_022))
}

/// Returns an append to the log of a room.
pub(super) fn append(room_id: &str, events: Vec<StoredEvent>) -> Append {
    Append::new(room_id.into(), EPOCH.into(), events)
}
