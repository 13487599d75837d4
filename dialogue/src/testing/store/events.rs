//! The events that stores are tried with.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    store::{Append, StoredEvent},
    wire::Id,
};

/// What logs are called, unless a test is about that.
pub(super) const EPOCH: &str = "k2f9";

/// When the first event of a log is from, in Unix milliseconds. Two and two events have one time, 10 ms after the two
/// before: see [`time`].
pub(super) const BEGIN: u64 = 1_700_000_000_000;

/// The time of event `seq`.
pub(super) fn time(seq: u64) -> u64 {
    BEGIN + seq / 2 * 10
}

/// The name of event `seq`: of three, two are messages.
pub(super) fn name(seq: u64) -> &'static str {
    if seq.is_multiple_of(3) { "task-moved" } else { "message" }
}

/// An ordinary event.
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

/// Ordinary events of these numbers.
pub(super) fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<StoredEvent> {
    numbers.into_iter().map(event).collect()
}

/// An event with a key.
pub(super) fn keyed(seq: u64, from: &str, key: &str) -> StoredEvent {
    StoredEvent { from: from.into(), key: Some(key.into()), ..event(seq) }
}

/// Events that are hard to keep: each field empty, long, or full of what other formats mean something by.
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

/// Events for the log of a room.
pub(super) fn append(room_id: &str, events: Vec<StoredEvent>) -> Append {
    Append::new(room_id.into(), EPOCH.into(), events)
}
