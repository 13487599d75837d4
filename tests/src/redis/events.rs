//! Events for a store, made from the bytes that a store may keep them as.

use std::ops::RangeInclusive;

use dialogue::store::{Append, StoredEvent};

use crate::Result;

/// What their logs are called.
pub const EPOCH: &str = "gr9dy2k4w1c";

/// An event that says its own number; its time is its number too.
pub fn event(seq: u64) -> Result<StoredEvent> {
    let mut bytes = vec![1, 0];
    for number in [seq, seq, 0] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(format!("id{seq:09}").bytes());
    for text in ["message", "alice"] {
        bytes.extend(u32::try_from(text.len())?.to_be_bytes());
        bytes.extend(text.bytes());
    }
    bytes.extend(format!("{{\"text\":\"{seq}\"}}").bytes());
    Ok(StoredEvent::decode(bytes.into())?)
}

/// Events of these numbers for one room.
pub fn appends(room: &str, seqs: RangeInclusive<u64>) -> Result<Vec<Append>> {
    let events = seqs.map(event).collect::<Result<Vec<_>>>()?;
    Ok(vec![Append::new(room.into(), EPOCH.into(), events)])
}

/// The numbers of events.
pub fn seqs(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}
