//! The client's types of the wire protocol: requests that it serialises, and server frames that it parses.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::push::Device;
use crate::{
    event::Unreadable,
    wire::{Code, Detail, Position, Refusal},
};

/// A request of the client. It is unchanged over reconnects; its id is added when it is serialised.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Request {
    Auth {
        token: String,
    },
    Join {
        room_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        events: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<Position>,
    },
    Leave {
        room_id: String,
    },
    Subscribe {
        room_id: String,
        events: Vec<String>,
    },
    Unsubscribe {
        room_id: String,
        events: Vec<String>,
    },
    Trigger {
        room_id: String,
        event: &'static str,
        data: Box<RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        meta: Option<serde_json::Value>,
    },
    GetHistory {
        room_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    Members {
        room_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    CreateRoom {
        room_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_size: Option<u32>,
    },
    DeleteRoom {
        room_id: String,
    },
    RegisterPush {
        #[serde(flatten)]
        device: Device,
        rooms: Vec<String>,
    },
    UnregisterPush {
        #[serde(flatten)]
        device: Device,
        #[serde(skip_serializing_if = "Option::is_none")]
        rooms: Option<Vec<String>>,
    },
}

impl Request {
    /// Serialises the frame. Without an `id` the server sends no `ok`.
    pub(crate) fn text(&self, id: Option<u64>) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Frame<'a> {
            #[serde(flatten)]
            request: &'a Request,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<u64>,
        }
        serde_json::to_string(&Frame { request: self, id })
    }
}

/// The fields that every server frame shares, parsed first.
#[derive(Debug, Deserialize)]
pub(crate) struct FrameHeader<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(default)]
    id: Option<serde_json::Value>,
}

impl FrameHeader<'_> {
    /// Returns the id of the request that this frame answers; this client only uses numbers.
    pub(crate) fn id(&self) -> Option<u64> {
        self.id.as_ref().and_then(serde_json::Value::as_u64)
    }
}

/// The `connected` frame.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connected {
    pub(crate) client_id: String,
    pub(crate) user_id: String,
    #[serde(default)]
    pub(crate) schema: Option<String>,
    #[serde(default)]
    pub(crate) anonymous_token: Option<String>,
}

/// The `joined` frame.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JoinedFrame {
    pub(crate) room_id: String,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(flatten)]
    pub(crate) head: Position,
    pub(crate) resume: ResumeWord,
    #[serde(default)]
    pub(crate) replay: u64,
    #[serde(default)]
    pub(crate) members: u64,
}

/// The outcome of a resume in the `joined` frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ResumeWord {
    Fresh,
    Complete,
    Lost,
}

/// The `event` frame with its payload unparsed, since only the room's type can parse it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventFrame {
    pub(crate) room_id: String,
    pub(crate) event: String,
    pub(crate) data: Box<RawValue>,
    pub(crate) from: String,
    pub(crate) timestamp: u64,
    pub(crate) event_id: String,
    #[serde(default)]
    pub(crate) seq: Option<u64>,
    #[serde(default)]
    pub(crate) server: bool,
    /// Unparsed, so that an unreadable value does not make the rest of its page unreadable.
    #[serde(default)]
    pub(crate) meta: Option<Box<RawValue>>,
}

impl EventFrame {
    /// Parses an `event` frame; a frame of another version may be unreadable.
    pub(crate) fn read(frame: &str) -> Result<Self, Box<Unreadable>> {
        serde_json::from_str(frame).map_err(|error| Box::new(Unreadable::of(frame, &error)))
    }

    /// Returns the approximate size in a buffer, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.data.get().len()
            + self.meta.as_ref().map_or(0, |meta| meta.get().len())
            + self.event_id.len()
            + self.from.len()
            + 128
    }
}

/// The `history` frame.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryFrame {
    pub(crate) room_id: String,
    /// The events, parsed one by one, so that an unreadable one does not fail the page.
    events: Vec<Box<RawValue>>,
    #[serde(default)]
    more: bool,
    /// The `before` of the next page; older servers omit it.
    #[serde(default)]
    next: Option<u64>,
}

impl HistoryFrame {
    /// Returns the events of the page, in its order.
    pub(crate) fn event_frames(&self) -> impl ExactSizeIterator<Item = Result<EventFrame, Box<Unreadable>>> {
        self.events.iter().map(|event| EventFrame::read(event.get()))
    }

    /// Returns the `before` of the next page, if there is one.
    pub(crate) fn next(&self) -> Option<u64> {
        // A server that omits `next` sends no empty page before the last one.
        let seq = |event_frame: Result<EventFrame, Box<Unreadable>>| {
            event_frame.map_or_else(|unreadable| unreadable.seq, |read| read.seq)
        };
        self.next.or_else(|| self.event_frames().filter_map(seq).min()).filter(|_| self.more)
    }
}

/// The `members` frame.
#[derive(Debug, Deserialize)]
pub(crate) struct MembersFrame {
    pub(crate) members: Vec<MemberRow>,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) more: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberRow {
    pub(crate) user_id: String,
    #[serde(default)]
    pub(crate) connections: u64,
}

/// The `presence` frame.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PresenceFrame {
    pub(crate) room_id: String,
    pub(crate) user_id: String,
    pub(crate) change: ChangeWord,
    #[serde(default)]
    pub(crate) size: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ChangeWord {
    Joined,
    Left,
}

/// The `skipped` frame.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SkippedFrame {
    pub(crate) room_id: String,
    pub(crate) count: u64,
}

/// The `left` frame.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeftFrame {
    pub(crate) room_id: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// The `reconnect` frame.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReconnectFrame {
    pub(crate) after_ms: u64,
}

/// The `error` frame, also the body of a refused HTTP request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorFrame {
    #[serde(rename = "type")]
    kind: String,
    pub(crate) code: Code,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    #[serde(default)]
    details: Vec<Detail>,
}

impl ErrorFrame {
    /// Parses the refusal in an HTTP response's body; `None` if the body is not Dialogue's.
    pub(crate) fn in_body(body: &[u8]) -> Option<Refusal> {
        serde_json::from_slice::<ErrorFrame>(body).ok().filter(|frame| frame.kind == "error").map(Into::into)
    }
}

impl From<ErrorFrame> for Refusal {
    fn from(frame: ErrorFrame) -> Self {
        let mut refusal = Refusal::new(frame.code, frame.message);
        refusal.retry_after = frame.retry_after_ms.map(Duration::from_millis);
        refusal.details = frame.details;
        refusal.reason = frame.reason.map(Into::into);
        refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_the_protocol_writes_it() {
        let data = RawValue::from_string(r#"{"text":"hi"}"#.to_owned()).unwrap();
        let key = Some("k".to_owned());
        let request =
            Request::Trigger { room_id: "chat".to_owned(), event: "message", data, key, meta: None };
        assert_eq!(
            request.text(Some(4)).unwrap(),
            r#"{"type":"trigger","roomId":"chat","event":"message","data":{"text":"hi"},"key":"k","id":4}"#
        );
    }

    #[test]
    fn a_device_reads_as_the_protocol_writes_it() {
        let (device, rooms) = (Device::fcm("t").language("de"), vec!["alerts".to_owned()]);
        assert_eq!(
            Request::RegisterPush { device: device.clone(), rooms }.text(Some(1)).unwrap(),
            r#"{"type":"registerPush","provider":"fcm","token":"t","language":"de","rooms":["alerts"],"id":1}"#
        );
        assert_eq!(
            Request::UnregisterPush { device, rooms: None }.text(None).unwrap(),
            r#"{"type":"unregisterPush","provider":"fcm","token":"t","language":"de"}"#
        );
    }

    #[test]
    fn a_joined_frame_gives_the_head() {
        let text = r#"{"type":"joined","id":1,"roomId":"chat","name":"Chat","epoch":"k","seq":57,"eventId":"e","resume":"complete","replay":16,"members":3}"#;
        let joined: JoinedFrame = serde_json::from_str(text).unwrap();
        assert_eq!(joined.head, Position { epoch: "k".to_owned(), seq: 57, event_id: "e".to_owned() });
        assert_eq!(joined.resume, ResumeWord::Complete);
    }
}
