//! What nodes say to each other in a room's channel.
//!
//! ```text
//! 1 byte    what: E events, M message, R roll
//! 11 bytes  node
//! E: 8 bytes number before; 11 bytes id of that event, or zeros; epoch's number, epoch's text (each 2 bytes of length,
//!    text); then for each event 4 bytes of length, event
//! R: for each change 4 bytes connections, 2 bytes of length, user
//! M: the message
//! ```
//!
//! All numbers are big endian. Events are written by a script.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{
    backplane::{Draft, FeedEvents, FeedMessage, MemberChange},
    store::{
        StoredEvent,
        redis::{Epoch, epoch_text},
    },
    wire::Id,
};

/// Bytes of an id.
const ID: usize = 11;

/// A message of a node.
pub(super) fn message(node: Id, message: &[u8]) -> Bytes {
    [b"M", node.as_str().as_bytes(), message].concat().into()
}

/// Events that are told and not kept.
pub(super) fn events(node: Id, epoch: &str, after: u64, drafts: &[Draft]) -> Bytes {
    let (Epoch(number), beside) = Epoch::of(epoch);
    let mut out = BytesMut::from(&b"E"[..]);
    out.put_slice(node.as_str().as_bytes());
    out.put_u64(after);
    out.put_bytes(0, ID);
    for text in [&*number.to_string(), beside] {
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

/// Changes of who is in.
pub(super) fn roll(node: Id, changes: &[MemberChange]) -> Bytes {
    let mut out = BytesMut::from(&b"R"[..]);
    out.put_slice(node.as_str().as_bytes());
    for MemberChange { user_id, connections } in changes {
        out.put_u32(*connections);
        // A user's id has at most 128 bytes.
        out.put_u16(u16::try_from(user_id.len()).unwrap_or(u16::MAX));
        out.put_slice(user_id.as_bytes());
    }
    out.freeze()
}

/// Reads what was said in the channel of a room; `None` if that is nothing of this version's.
pub(super) fn read(room_id: Arc<str>, mut said: Bytes) -> Option<FeedMessage> {
    let what = said.try_get_u8().ok()?;
    let node = take(&mut said, ID)?;
    let node = std::str::from_utf8(&node).ok().and_then(Id::parse)?;
    match what {
        b'E' => batch(room_id, node, said).map(FeedMessage::Events),
        b'M' => Some(FeedMessage::Message { room_id, node, message: said }),
        b'R' => Some(FeedMessage::Members { room_id, node, changes: changes(said)? }),
        _ => None,
    }
}

fn batch(room_id: Arc<str>, node: Id, mut said: Bytes) -> Option<FeedEvents> {
    let after = said.try_get_u64().ok()?;
    let after_id = take(&mut said, ID)?;
    let after_id = std::str::from_utf8(&after_id).ok().and_then(Id::parse);
    let (number, beside) = (text(&mut said)?, text(&mut said)?);
    let epoch = if beside.is_empty() { epoch_text(number.parse().ok()?) } else { beside };
    let mut events = Vec::new();
    while said.has_remaining() {
        let length = usize::try_from(said.try_get_u32().ok()?).ok()?;
        events.push(StoredEvent::decode(take(&mut said, length)?).ok()?);
    }
    Some(FeedEvents { room_id, node, epoch, after, after_id, events })
}

fn changes(mut said: Bytes) -> Option<Vec<MemberChange>> {
    let mut changes = Vec::new();
    while said.has_remaining() {
        let connections = said.try_get_u32().ok()?;
        changes.push(MemberChange { connections, user_id: text(&mut said)? });
    }
    Some(changes)
}

fn text(said: &mut Bytes) -> Option<Arc<str>> {
    let length = usize::from(said.try_get_u16().ok()?);
    std::str::from_utf8(&take(said, length)?).ok().map(Arc::from)
}

fn take(said: &mut Bytes, length: usize) -> Option<Bytes> {
    (said.remaining() >= length).then(|| said.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_is_read() {
        let (node, room): (_, Arc<str>) = (Id::fresh(), "chat".into());
        let told = read(Arc::clone(&room), message(node, b"hello"));
        let said =
            FeedMessage::Message { room_id: Arc::clone(&room), node, message: Bytes::from_static(b"hello") };
        assert_eq!(told, Some(said));
        let changes = vec![MemberChange::new("alice".into(), 2), MemberChange::new("".into(), 0)];
        let told = read(Arc::clone(&room), roll(node, &changes));
        assert_eq!(told, Some(FeedMessage::Members { room_id: room, node, changes }));
    }

    proptest! {
        #[test]
        fn anything_else_is_nothing(kind in "[EMRX]", bytes in any::<Vec<u8>>()) {
            let said = [kind.as_bytes(), b"AAAAAAAAAAA", &bytes].concat();
            let _ = read("chat".into(), said.into());
            let _ = read("chat".into(), bytes.into());
        }
    }
}
