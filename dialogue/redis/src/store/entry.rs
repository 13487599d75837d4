//! The encoding of events and idempotency keys in the streams and hashes of a room.

use std::sync::Arc;

use bytes::Bytes;
use dialogue_core::{
    identity::is_anonymous,
    store::{DecodeError, KeyScope, StoredEvent, StoredKey},
    wire::Id,
};
use redis::Value;

use super::epoch::epoch_text;
use crate::command::reply::{list, text};

/// One entry of a room's stream, with its encoded event.
pub(crate) struct StreamEntry {
    pub(crate) epoch: Arc<str>,
    pub(crate) seq: u64,
    pub(crate) data: Bytes,
}

impl StreamEntry {
    /// Parses a reply of the form `[id, [field, value, …]]`: the field `d` is the event, `e` the epoch if the id can't
    /// hold it.
    pub(crate) fn parse(value: &Value) -> Option<Self> {
        let [id, fields] = list(value)? else { return None };
        let (epoch, seq) = text(id)?.split_once('-')?;
        let (mut data, mut explicit_epoch) = (None, None);
        for pair in list(fields)?.chunks_exact(2) {
            match pair {
                [name, Value::BulkString(value)] if text(name) == Some("d") => {
                    data = Some(Bytes::copy_from_slice(value));
                }
                [name, value] if text(name) == Some("e") => explicit_epoch = text(value).map(Arc::from),
                _ => {}
            }
        }
        let epoch = match explicit_epoch {
            Some(explicit_epoch) => explicit_epoch,
            None => epoch_text(epoch.parse().ok()?),
        };
        Some(StreamEntry { epoch, seq: seq.parse().ok()?, data: data? })
    }
}

/// Decodes an event in the reply of a script.
pub(crate) fn event(value: Value) -> Result<StoredEvent, DecodeError> {
    match value {
        Value::BulkString(bytes) => StoredEvent::decode(bytes.into()),
        _ => Err(DecodeError::Malformed),
    }
}

/// Returns the hash field and value of an idempotency key: `LENGTH:FROM KEY` (without the space) and `SEQ ID
/// TIMESTAMP`. A key of the scope `Unauthenticated`, which is common to all users, is `0:KEY` and `SEQ ID FROM
/// TIMESTAMP`.
pub(crate) fn key(key: &StoredKey) -> (String, String) {
    let StoredKey { from, key, seq, event_id, timestamp, .. } = key;
    match KeyScope::parse(key).0 {
        KeyScope::Unauthenticated => (field("", key), format!("{seq} {event_id} {from} {timestamp}")),
        _ => (field(from, key), format!("{seq} {event_id} {timestamp}")),
    }
}

fn field(from: &str, key: &str) -> String {
    format!("{}:{from}{key}", from.len())
}

/// Returns the arguments of the publish script for an event's key: its field, the other field under which a retry may
/// be found or an empty string, and the sender. See `publish.lua`.
pub(crate) fn key_fields(event: &StoredEvent) -> [String; 3] {
    let Some(stored) = StoredKey::of(event) else { return Default::default() };
    let own_field = self::key(&stored).0;
    let other_field = match KeyScope::parse(&stored.key) {
        (KeyScope::Unauthenticated, key) => field(&stored.from, &KeyScope::User.encode(key.into())),
        (KeyScope::User, key) if is_anonymous(&stored.from) => {
            field("", &KeyScope::Unauthenticated.encode(key.into()))
        }
        _ => return [own_field, String::new(), String::new()],
    };
    [own_field, other_field, stored.from.to_string()]
}

pub(crate) fn decode_key(field: &Value, value: &Value) -> Option<StoredKey> {
    let (length, rest) = text(field)?.split_once(':')?;
    let (from, key) = rest.split_at_checked(length.parse().ok()?)?;
    let (seq, value) = text(value)?.split_once(' ')?;
    let (event_id, value) = value.split_once(' ')?;
    let (sender, timestamp) = value.rsplit_once(' ').unwrap_or((from, value));
    let (seq, event_id, timestamp) = (seq.parse().ok()?, Id::parse(event_id)?, timestamp.parse().ok()?);
    Some(StoredKey::new(sender.into(), key.into(), seq, event_id, timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: impl Into<String>) -> Value {
        Value::BulkString(text.into().into_bytes())
    }

    #[test]
    fn a_key_decodes_to_itself() {
        for (from, name) in [("alice", "k"), ("a:b", ":c"), ("é", ""), ("12:x", "1:2"), ("anon-x", "\u{1}nk")]
        {
            let stored = StoredKey::new(from.into(), name.into(), 7, Id::fresh(), 9);
            let (field, value) = key(&stored);
            assert_eq!(decode_key(&bulk(field), &bulk(value)), Some(stored));
        }
        assert_eq!(decode_key(&bulk("99:x"), &bulk("1 2 3")), None);
    }

    #[test]
    fn an_entry_has_an_epoch() {
        let fields = |fields: &[&str]| Value::Array(fields.iter().map(|field| bulk(*field)).collect());
        let entry = |parts| StreamEntry::parse(&Value::Array(vec![bulk("0-7"), fields(parts)]));
        let parsed = entry(&["d", "x"]).unwrap();
        assert_eq!((&*parsed.epoch, parsed.seq, &*parsed.data), ("0", 7, &b"x"[..]));
        assert_eq!(&*entry(&["d", "x", "e", "K2F9"]).unwrap().epoch, "K2F9");
        assert!(entry(&["e", "K2F9"]).is_none() && StreamEntry::parse(&Value::Nil).is_none());
    }
}
