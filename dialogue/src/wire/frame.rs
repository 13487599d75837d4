//! The frames that the server sends, as JSON.
//!
//! The two on the hot path, `event` and `ok`, are written by hand; the others go through serde.

use std::{borrow::Cow, io::Write};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::wire::{Accepted, Detail, Refusal};

/// The fields of an `event` frame beside the payload.
#[derive(Debug)]
pub(crate) struct EventHead<'a> {
    pub(crate) room_id: &'a str,
    pub(crate) event: &'a str,
    pub(crate) from: &'a str,
    pub(crate) timestamp: u64,
    pub(crate) event_id: &'a str,
    pub(crate) seq: Option<u64>,
    pub(crate) server: bool,
    pub(crate) meta: Option<&'a str>,
}

impl EventHead<'_> {
    /// Encodes the frame around `data`, which is JSON.
    pub(crate) fn encode(&self, data: &str) -> Bytes {
        let mut out = Vec::with_capacity(
            data.len() + self.room_id.len() + self.from.len() + self.meta.map_or(0, str::len) + 160,
        );
        out.extend_from_slice(br#"{"type":"event","roomId":"#);
        put_string(&mut out, self.room_id);
        out.extend_from_slice(br#","event":"#);
        put_string(&mut out, self.event);
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data.as_bytes());
        out.extend_from_slice(br#","from":"#);
        put_string(&mut out, self.from);
        out.extend_from_slice(br#","timestamp":"#);
        put_number(&mut out, self.timestamp);
        out.extend_from_slice(br#","eventId":"#);
        put_string(&mut out, self.event_id);
        if let Some(seq) = self.seq {
            out.extend_from_slice(br#","seq":"#);
            put_number(&mut out, seq);
        }
        if self.server {
            out.extend_from_slice(br#","server":true"#);
        }
        if let Some(meta) = self.meta {
            out.extend_from_slice(br#","meta":"#);
            out.extend_from_slice(meta.as_bytes());
        }
        out.push(b'}');
        out.into()
    }
}

/// Encodes the `ok` of a trigger; `id` is the request's, as JSON.
pub(crate) fn accepted(id: &str, accepted: &Accepted) -> Vec<u8> {
    let mut out = Vec::with_capacity(id.len() + 96);
    out.extend_from_slice(br#"{"type":"ok","id":"#);
    out.extend_from_slice(id.as_bytes());
    if let Some(seq) = accepted.seq {
        out.extend_from_slice(br#","seq":"#);
        put_number(&mut out, seq);
    }
    out.extend_from_slice(br#","eventId":"#);
    put_string(&mut out, &accepted.event_id);
    out.extend_from_slice(br#","timestamp":"#);
    put_number(&mut out, accepted.timestamp);
    if accepted.duplicate {
        out.extend_from_slice(br#","duplicate":true"#);
    }
    out.push(b'}');
    out
}

/// A frame of another type: its `type`, then the fields of `body`.
#[derive(Debug, Serialize)]
pub(crate) struct Frame<'a, T> {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(flatten)]
    pub(crate) body: T,
}

impl<'a, T: Serialize> Frame<'a, T> {
    pub(crate) fn new(kind: &'static str, id: Option<&'a RawValue>, body: T) -> Self {
        Frame { kind, id, body }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        // Frames are structs of strings, numbers and raw JSON, whose serialisation can't fail.
        serde_json::to_vec(self)
            .unwrap_or_else(|_| br#"{"type":"error","code":"INTERNAL","message":"internal error"}"#.to_vec())
    }
}

/// A frame with no field beside `type` and `id`.
#[derive(Debug, Serialize)]
pub(crate) struct Empty {}

/// The fields of `connected`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connected<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) protocol: u32,
    pub(crate) schema: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) anonymous_token: Option<&'a str>,
}

/// The fields of `joined`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Joined<'a> {
    pub(crate) room_id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) epoch: &'a str,
    pub(crate) seq: u64,
    pub(crate) event_id: &'a str,
    pub(crate) resume: &'static str,
    pub(crate) replay: u64,
    pub(crate) members: usize,
}

/// The fields of `left`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Left<'a> {
    pub(crate) room_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
}

/// The fields of `history`. By `roomId` a client tells the history of one join from that of another.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct History<'a> {
    pub(crate) room_id: &'a str,
    pub(crate) events: Vec<&'a RawValue>,
    pub(crate) more: bool,
    /// The `before` of the next page, if there may be more events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<u64>,
}

/// The fields of `rooms`.
#[derive(Debug, Serialize)]
pub(crate) struct Rooms {
    pub(crate) rooms: Vec<RoomInfo>,
    pub(crate) more: bool,
    /// The `after` of the next page, if there may be more rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// A room in `rooms` and in `roomCreated`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoomInfo {
    pub(crate) room_id: String,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_by: Option<String>,
}

/// The fields of `members`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Members<'a> {
    pub(crate) room_id: &'a str,
    pub(crate) members: Vec<Member>,
    pub(crate) size: usize,
    pub(crate) more: bool,
}

/// A user in `members`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Member {
    pub(crate) user_id: String,
    pub(crate) connections: usize,
}

/// The fields of `presence`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Presence<'a> {
    pub(crate) room_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) change: &'a str,
    pub(crate) size: usize,
}

/// The fields of `roomCreated`.
#[derive(Debug, Serialize)]
pub(crate) struct RoomCreated {
    pub(crate) room: RoomInfo,
}

/// The fields of `roomDeleted`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoomDeleted<'a> {
    pub(crate) room_id: &'a str,
}

/// The fields of `skipped`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Skipped<'a> {
    pub(crate) room_id: &'a str,
    pub(crate) count: u64,
}

/// The fields of `reconnect`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reconnect {
    pub(crate) after_ms: u64,
}

/// The fields of `error`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Error<'a> {
    code: crate::Code,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [Detail],
}

impl<'a> From<&'a Refusal> for Error<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        Error {
            code: refusal.code,
            message: Cow::Borrowed(&refusal.message),
            reason: refusal.reason.as_deref(),
            retry_after_ms: refusal
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            details: &refusal.details,
        }
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    // Ids and names are nearly always plain; serde_json escapes the others.
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    // Writing into a `Vec` cannot fail.
    let _ = write!(out, "{number}");
}
