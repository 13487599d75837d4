//! The encoding of messages between nodes in a room's channel.
//!
//! ```text
//! 1 byte    kind: E events, M message, R members
//! 11 bytes  id of the sending node
//! E: 8 bytes number of the event before these; 11 bytes id of that event, or zeros; number of the epoch in decimal, text of
//!    the epoch (each 2 bytes of length, text); then for each event 4 bytes of length, encoded event
//! R: for each change 4 bytes connections, 2 bytes of length, user id
//! M: the message
//! ```
//!
//! All integers are big endian. Logged events are encoded by the script `publish.lua`.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dialogue_core::{
    backplane::{Draft, FeedEvents, FeedMessage, MemberChange},
    store::StoredEvent,
    wire::Id,
};

use crate::store::{EpochNumber, epoch_text};

/// The length of an id.
const ID_BYTES: usize = 11;

/// Encodes a message of a node.
pub(super) fn message(node: Id, message: &[u8]) -> Bytes {
    [b"M", node.as_str().as_bytes(), message].concat().into()
}

/// Encodes events that are in no log.
pub(super) fn events(node: Id, epoch: &str, after: u64, drafts: &[Draft]) -> Bytes {
    let (EpochNumber(number), explicit_epoch) = EpochNumber::from_text(epoch);
    let mut out = BytesMut::from(&b"E"[..]);
    out.put_slice(node.as_str().as_bytes());
    out.put_u64(after);
    out.put_bytes(0, ID_BYTES);
    for text in [&*number.to_string(), explicit_epoch] {
        out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        out.put_slice(text.as_bytes());
    }
    for Draft { event, .. } in drafts {
        let event = event.encode();
        out.put_u32(u32::try_from(event.len()).unwrap_or(u32::MAX));
        out.put_slice(&event);
    }
    out.freeze()
}

/// Encodes changes of a node's members.
pub(super) fn members(node: Id, changes: &[MemberChange]) -> Bytes {
    let mut out = BytesMut::from(&b"R"[..]);
    out.put_slice(node.as_str().as_bytes());
    for MemberChange { user_id, connections, .. } in changes {
        out.put_u32(*connections);
        // A user's id has at most 128 bytes.
        out.put_u16(u16::try_from(user_id.len()).unwrap_or(u16::MAX));
        out.put_slice(user_id.as_bytes());
    }
    out.freeze()
}

/// Decodes a message in the channel of a room; returns `None` if this version can't read it.
pub(super) fn decode(room_id: Arc<str>, mut bytes: Bytes) -> Option<FeedMessage> {
    let kind = bytes.try_get_u8().ok()?;
    let node = take(&mut bytes, ID_BYTES)?;
    let node = std::str::from_utf8(&node).ok().and_then(Id::parse)?;
    match kind {
        b'E' => decode_events(room_id, node, bytes).map(FeedMessage::Events),
        b'M' => Some(FeedMessage::Message { room_id, node, message: bytes }),
        b'R' => Some(FeedMessage::Members { room_id, node, changes: changes(bytes)? }),
        _ => None,
    }
}

fn decode_events(room_id: Arc<str>, node: Id, mut bytes: Bytes) -> Option<FeedEvents> {
    let after = bytes.try_get_u64().ok()?;
    let after_id = take(&mut bytes, ID_BYTES)?;
    let after_id = std::str::from_utf8(&after_id).ok().and_then(Id::parse);
    let (number, explicit_epoch) = (take_text(&mut bytes)?, take_text(&mut bytes)?);
    let epoch = if explicit_epoch.is_empty() { epoch_text(number.parse().ok()?) } else { explicit_epoch };
    let mut events = Vec::new();
    while bytes.has_remaining() {
        let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
        events.push(StoredEvent::decode(take(&mut bytes, length)?).ok()?);
    }
    let mut decoded = FeedEvents::new(room_id, node, epoch, after, events);
    decoded.after_id = after_id;
    Some(decoded)
}

fn changes(mut bytes: Bytes) -> Option<Vec<MemberChange>> {
    let mut changes = Vec::new();
    while bytes.has_remaining() {
        let connections = bytes.try_get_u32().ok()?;
        changes.push(MemberChange::new(take_text(&mut bytes)?, connections));
    }
    Some(changes)
}

fn take_text(bytes: &mut Bytes) -> Option<Arc<str>> {
    let length = usize::from(bytes.try_get_u16().ok()?);
    std::str::from_utf8(&take(bytes, length)?).ok().map(Arc::from)
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (bytes.remaining() >= length).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_encoded_message_decodes_to_itself() {
        let (node, room): (_, Arc<str>) = (Id::fresh(), "chat".into());
        let decoded = decode(Arc::clone(&room), message(node, b"hello"));
        let expected =
            FeedMessage::Message { room_id: Arc::clone(&room), node, message: Bytes::from_static(b"hello") };
        assert_eq!(decoded, Some(expected));
        let changes = vec![MemberChange::new("alice".into(), 2), MemberChange::new("".into(), 0)];
        let decoded = decode(Arc::clone(&room), members(node, &changes));
        assert_eq!(decoded, Some(FeedMessage::Members { room_id: room, node, changes }));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(kind in "[EMRX]", bytes in any::<Vec<u8>>()) {
            let message = [kind.as_bytes(), b"AAAAAAAAAAA", &bytes].concat();
            let _ = decode("chat".into(), message.into());
            let _ = decode("chat".into(), bytes.into());
        }
    }
}
