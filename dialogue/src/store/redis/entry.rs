//! What stands in a room's keys, and back.

use std::sync::Arc;

use bytes::Bytes;
use redis::Value;

use super::epoch::epoch_text;
use crate::{
    identity::is_anonymous,
    redis::reply::{list, text},
    store::{KeyScope, NotStored, StoredEvent, StoredKey, scoped},
    wire::Id,
};

/// One entry of a room's stream.
pub(crate) struct Entry {
    pub(crate) epoch: Arc<str>,
    pub(crate) seq: u64,
    pub(crate) data: Bytes,
}

impl Entry {
    /// Reads `[id, [field, value, …]]`.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let [id, fields] = list(value)? else { return None };
        let (epoch, seq) = text(id)?.split_once('-')?;
        let (mut data, mut beside) = (None, None);
        for pair in list(fields)?.chunks_exact(2) {
            match pair {
                [name, Value::BulkString(value)] if text(name) == Some("d") => {
                    data = Some(Bytes::copy_from_slice(value));
                }
                [name, value] if text(name) == Some("e") => beside = text(value).map(Arc::from),
                _ => {}
            }
        }
        let epoch = match beside {
            Some(beside) => beside,
            None => epoch_text(epoch.parse().ok()?),
        };
        Some(Entry { epoch, seq: seq.parse().ok()?, data: data? })
    }
}

/// An event that a script yields.
pub(crate) fn event(value: Value) -> Result<StoredEvent, NotStored> {
    match value {
        Value::BulkString(bytes) => StoredEvent::decode(bytes.into()),
        _ => Err(NotStored::Garbled),
    }
}

/// The field and the value of a key: `LENGTH:FROM KEY` and `SEQ ID TIMESTAMP`; of one that all callers without a token have in
/// common, `0:KEY` and `SEQ ID FROM TIMESTAMP`.
pub(crate) fn key(key: &StoredKey) -> (String, String) {
    let StoredKey { from, key, seq, event_id, timestamp } = key;
    match KeyScope::read(key).0 {
        KeyScope::Newcomer => (field("", key), format!("{seq} {event_id} {from} {timestamp}")),
        _ => (field(from, key), format!("{seq} {event_id} {timestamp}")),
    }
}

fn field(from: &str, key: &str) -> String {
    format!("{}:{from}{key}", from.len())
}

/// The field of an event's key, and the other one that it may be known by, with the sender; see `share.lua`.
pub(crate) fn fields(event: &StoredEvent) -> [String; 3] {
    let Some(stored) = StoredKey::of(event) else { return Default::default() };
    let own = self::key(&stored).0;
    let other = match KeyScope::read(&stored.key) {
        (KeyScope::Newcomer, key) => field(&stored.from, &scoped(KeyScope::User, key.into())),
        (KeyScope::User, key) if is_anonymous(&stored.from) => {
            field("", &scoped(KeyScope::Newcomer, key.into()))
        }
        _ => return [own, String::new(), String::new()],
    };
    [own, other, stored.from.to_string()]
}

pub(crate) fn read_key(field: &Value, value: &Value) -> Option<StoredKey> {
    let (length, rest) = text(field)?.split_once(':')?;
    let (from, key) = rest.split_at_checked(length.parse().ok()?)?;
    let (seq, value) = text(value)?.split_once(' ')?;
    let (event_id, value) = value.split_once(' ')?;
    let (sender, timestamp) = value.rsplit_once(' ').unwrap_or((from, value));
    Some(StoredKey {
        from: sender.into(),
        key: key.into(),
        seq: seq.parse().ok()?,
        event_id: Id::parse(event_id)?,
        timestamp: timestamp.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: impl Into<String>) -> Value {
        Value::BulkString(text.into().into_bytes())
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        for (from, name) in [("alice", "k"), ("a:b", ":c"), ("é", ""), ("12:x", "1:2"), ("anon-x", "\u{1}nk")]
        {
            let stored = StoredKey {
                from: from.into(),
                key: name.into(),
                seq: 7,
                event_id: Id::fresh(),
                timestamp: 9,
            };
            let (field, value) = key(&stored);
            assert_eq!(read_key(&bulk(field), &bulk(value)), Some(stored));
        }
        assert_eq!(read_key(&bulk("99:x"), &bulk("1 2 3")), None);
    }

    #[test]
    fn an_entry_tells_its_epoch() {
        let fields = |fields: &[&str]| Value::Array(fields.iter().map(|field| bulk(*field)).collect());
        let entry = |parts| Entry::read(&Value::Array(vec![bulk("0-7"), fields(parts)]));
        let read = entry(&["d", "x"]).unwrap();
        assert_eq!((&*read.epoch, read.seq, &*read.data), ("0", 7, &b"x"[..]));
        assert_eq!(&*entry(&["d", "x", "e", "K2F9"]).unwrap().epoch, "K2F9");
        assert!(entry(&["e", "K2F9"]).is_none() && Entry::read(&Value::Nil).is_none());
    }
}
