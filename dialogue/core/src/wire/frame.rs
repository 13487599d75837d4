//! The frames that the server sends: each is declared once, and serialised by the server and parsed by the client from
//! this declaration.
//!
//! The fields are borrowed where the server has them, and owned once the client has parsed them. The two frames on the
//! hot path, `event` and the `ok` of a trigger, are written by hand; tests hold them to their declarations.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

use super::{Accepted, Code, Detail, Refusal};

/// A frame that the server sends.
pub trait ServerFrame: Serialize {
    /// The `type` of the frame.
    const TYPE: &'static str;

    /// Encodes the frame; `id` is that of the request which it answers, as JSON.
    fn encode(&self, id: Option<&RawValue>) -> EncodedFrame {
        EncodedFrame { kind: Self::TYPE, json: serialise(self, id) }
    }
}

/// Encodes a frame as it is declared.
fn serialise<F: ServerFrame + ?Sized>(frame: &F, id: Option<&RawValue>) -> Vec<u8> {
    // Frames are structs of strings, numbers and raw JSON, whose serialisation can't fail.
    serde_json::to_vec(&Envelope { kind: F::TYPE, id, body: frame })
        .unwrap_or_else(|_| br#"{"type":"error","code":"INTERNAL","message":"internal error"}"#.to_vec())
}

/// A frame as JSON.
#[derive(Debug)]
pub struct EncodedFrame {
    /// The frame's `type`; in an event stream it is the event `dialogue:TYPE`.
    pub kind: &'static str,
    pub json: Vec<u8>,
}

/// A frame with the members that all frames share.
#[derive(Serialize)]
struct Envelope<'a, T: ?Sized> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(flatten)]
    body: &'a T,
}

/// `connected`: the first frame of a WebSocket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connected<'a> {
    pub client_id: Cow<'a, str>,
    pub user_id: Cow<'a, str>,
    /// The version of the protocol, which clients of later versions may choose by.
    #[serde(skip_deserializing)]
    pub protocol: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_token: Option<Cow<'a, str>>,
}

/// `ok`: a request without a result was carried out. The `ok` of a trigger has the fields of [`Accepted`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {}

/// `joined`: the connection is a member of a room.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined<'a> {
    pub room_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
    pub epoch: Cow<'a, str>,
    pub seq: u64,
    #[serde(default)]
    pub event_id: Cow<'a, str>,
    pub resume: ResumeOutcome,
    /// The number of events that are about to be replayed.
    #[serde(default)]
    pub replay: u64,
    #[serde(default)]
    pub members: usize,
}

/// The replay that a join got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ResumeOutcome {
    Fresh,
    Complete,
    Lost,
}

impl ResumeOutcome {
    /// All outcomes.
    pub const ALL: [ResumeOutcome; 3] = [ResumeOutcome::Fresh, ResumeOutcome::Complete, ResumeOutcome::Lost];

    /// Returns the name of the outcome, as in a frame.
    pub fn name(self) -> &'static str {
        match self {
            ResumeOutcome::Fresh => "fresh",
            ResumeOutcome::Complete => "complete",
            ResumeOutcome::Lost => "lost",
        }
    }
}

/// `event`: an event of a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    pub room_id: Cow<'a, str>,
    pub event: Cow<'a, str>,
    /// The payload, unparsed: only the room's type can parse it.
    pub data: Json<'a>,
    pub from: Cow<'a, str>,
    pub timestamp: u64,
    pub event_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub server: bool,
    /// Unparsed, so that an unreadable value doesn't make the rest of its page unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Json<'a>>,
}

/// A JSON value as text, which is copied into and out of a frame unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json<'a>(pub Cow<'a, str>);

/// `left`: the connection is no member of a room any more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Left<'a> {
    pub room_id: Cow<'a, str>,
    /// The reason; `None` if the client asked to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
}

/// `history`: a page of a room's log. By `roomId` a client tells the history of one join from that of another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History<'a> {
    pub room_id: Cow<'a, str>,
    /// The `event` frames, parsed one by one, so that an unreadable one doesn't fail the page.
    pub events: Vec<Cow<'a, RawValue>>,
    #[serde(default)]
    pub more: bool,
    /// The `before` of the next page, if there may be more events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// `rooms`: a page of the rooms that the user sees.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rooms {
    pub rooms: Vec<RoomInfo>,
    #[serde(default)]
    pub more: bool,
    /// The `after` of the next page, if there may be more rooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A room in `rooms` and in `roomCreated`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomInfo {
    pub room_id: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub size: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

/// `members`: a page of the users in a room.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Members<'a> {
    #[serde(default)]
    pub room_id: Cow<'a, str>,
    pub members: Vec<Member>,
    #[serde(default)]
    pub size: usize,
    #[serde(default)]
    pub more: bool,
}

/// A user in `members`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    pub user_id: String,
    #[serde(default)]
    pub connections: usize,
}

/// `presence`: a user has come to a room, or has left it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence<'a> {
    pub room_id: Cow<'a, str>,
    pub user_id: Cow<'a, str>,
    pub change: PresenceChange,
    #[serde(default)]
    pub size: usize,
}

/// A change of a user's presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PresenceChange {
    Joined,
    Left,
}

/// `roomCreated`, for clients that watch the room list.
#[derive(Debug, Serialize, Deserialize)]
pub struct RoomCreated {
    pub room: RoomInfo,
}

/// `roomDeleted`, for clients that watch the room list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomDeleted<'a> {
    pub room_id: Cow<'a, str>,
}

/// `skipped`: ephemeral events were dropped, since the client reads too slowly.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped<'a> {
    pub room_id: Cow<'a, str>,
    pub count: u64,
}

/// `reconnect`: the node drains.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconnect {
    pub after_ms: u64,
}

/// `pushKey`: the VAPID public key, in the body of an HTTP response.
#[derive(Debug, Serialize, Deserialize)]
pub struct PushKey<'a> {
    pub key: Cow<'a, str>,
}

/// `error`: a request was refused. It is also the body of a refused HTTP request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Error<'a> {
    code: Code,
    #[serde(default)]
    message: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    details: Cow<'a, [Detail]>,
}

/// The members that all frames of the server share.
#[derive(Debug, Deserialize)]
pub struct ServerFrameHeader<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    #[serde(default)]
    pub id: Option<serde_json::Value>,
}

macro_rules! types {
    ($($name:ty = $kind:literal),* $(,)?) => {
        $(impl ServerFrame for $name { const TYPE: &'static str = $kind; })*
    };
}

types! {
    Connected<'_> = "connected",
    Done = "ok",
    Error<'_> = "error",
    History<'_> = "history",
    Joined<'_> = "joined",
    Left<'_> = "left",
    Members<'_> = "members",
    Presence<'_> = "presence",
    PushKey<'_> = "pushKey",
    Reconnect = "reconnect",
    RoomCreated = "roomCreated",
    RoomDeleted<'_> = "roomDeleted",
    Rooms = "rooms",
    Skipped<'_> = "skipped",
}

impl ServerFrame for Event<'_> {
    const TYPE: &'static str = "event";

    fn encode(&self, _: Option<&RawValue>) -> EncodedFrame {
        EncodedFrame { kind: Self::TYPE, json: self.to_json() }
    }
}

impl ServerFrame for Accepted {
    const TYPE: &'static str = "ok";

    fn encode(&self, id: Option<&RawValue>) -> EncodedFrame {
        self.encode_ok(id.map(RawValue::get))
    }
}

impl Event<'_> {
    /// Returns the approximate size in a buffer, in bytes.
    pub fn bytes(&self) -> usize {
        self.data.0.len()
            + self.meta.as_ref().map_or(0, |meta| meta.0.len())
            + self.event_id.len()
            + self.from.len()
            + 128
    }

    /// Encodes the frame, by hand: it is encoded for each event.
    pub fn to_json(&self) -> Vec<u8> {
        let Json(data) = &self.data;
        let mut out = Vec::with_capacity(
            data.len()
                + self.room_id.len()
                + self.from.len()
                + self.meta.as_ref().map_or(0, |meta| meta.0.len())
                + 160,
        );
        out.extend_from_slice(br#"{"type":"event","roomId":"#);
        put_string(&mut out, &self.room_id);
        out.extend_from_slice(br#","event":"#);
        put_string(&mut out, &self.event);
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data.as_bytes());
        out.extend_from_slice(br#","from":"#);
        put_string(&mut out, &self.from);
        out.extend_from_slice(br#","timestamp":"#);
        put_number(&mut out, self.timestamp);
        out.extend_from_slice(br#","eventId":"#);
        put_string(&mut out, &self.event_id);
        if let Some(seq) = self.seq {
            out.extend_from_slice(br#","seq":"#);
            put_number(&mut out, seq);
        }
        if self.server {
            out.extend_from_slice(br#","server":true"#);
        }
        if let Some(Json(meta)) = &self.meta {
            out.extend_from_slice(br#","meta":"#);
            out.extend_from_slice(meta.as_bytes());
        }
        out.push(b'}');
        out
    }
}

impl Accepted {
    /// Encodes the `ok` of a trigger, by hand; `id` is the request's, as JSON.
    pub fn encode_ok(&self, id: Option<&str>) -> EncodedFrame {
        let mut out = Vec::with_capacity(id.map_or(0, str::len) + 96);
        out.extend_from_slice(br#"{"type":"ok""#);
        if let Some(id) = id {
            out.extend_from_slice(br#","id":"#);
            out.extend_from_slice(id.as_bytes());
        }
        if let Some(seq) = self.seq {
            out.extend_from_slice(br#","seq":"#);
            put_number(&mut out, seq);
        }
        out.extend_from_slice(br#","eventId":"#);
        put_string(&mut out, &self.event_id);
        out.extend_from_slice(br#","timestamp":"#);
        put_number(&mut out, self.timestamp);
        if self.duplicate {
            out.extend_from_slice(br#","duplicate":true"#);
        }
        out.push(b'}');
        EncodedFrame { kind: Self::TYPE, json: out }
    }
}

impl<'a> From<&'a Refusal> for Error<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        let millis = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        Error {
            code: refusal.code,
            message: Cow::Borrowed(&refusal.message),
            reason: refusal.reason.as_deref().map(Cow::Borrowed),
            retry_after_ms: refusal.retry_after.map(millis),
            details: Cow::Borrowed(&refusal.details),
        }
    }
}

impl From<Error<'_>> for Refusal {
    fn from(error: Error<'_>) -> Self {
        let mut refusal = Refusal::new(error.code, error.message.into_owned());
        refusal.retry_after = error.retry_after_ms.map(Duration::from_millis);
        refusal.details = error.details.into_owned();
        refusal.reason = error.reason.map(|reason| reason.into_owned().into());
        refusal
    }
}

impl ServerFrameHeader<'_> {
    /// Returns the id of the request that this frame answers; Dialogue's own clients only use numbers.
    pub fn number(&self) -> Option<u64> {
        self.id.as_ref().and_then(serde_json::Value::as_u64)
    }

    /// Parses the refusal in an HTTP response's body; `None` if the body is not Dialogue's.
    pub fn refusal_in(body: &[u8]) -> Option<Refusal> {
        let header: ServerFrameHeader<'_> = serde_json::from_slice(body).ok()?;
        let error: Error<'_> = serde_json::from_slice(body).ok()?;
        (header.kind == Error::TYPE).then(|| error.into())
    }
}

impl<'a> From<&'a str> for Json<'a> {
    fn from(json: &'a str) -> Self {
        Json(Cow::Borrowed(json))
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(de::Error::custom)?;
        Ok(Json(Cow::Owned(Box::<str>::from(raw).into_string())))
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    // Ids and names are nearly always plain; serde_json escapes the others.
    if is_plain(text) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

/// Returns whether a JSON string has the text as it is: it contains no control character, quote or backslash. Eight
/// bytes are examined at once, since this is called for four strings of every event.
fn is_plain(text: &str) -> bool {
    let (words, rest) = text.as_bytes().as_chunks();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(byte, of_rest)| *byte = *of_rest);
    words.iter().chain([&last]).all(|word| is_plain_word(u64::from_le_bytes(*word)))
}

/// See [`is_plain`]. The subtraction carries into the top bit of the lowest byte that is below the bound, if there is
/// one (Warren, Hacker's Delight, 2nd edition, section 6-1: "Find First 0-Byte").
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & TOPS;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, 0x20) | is(b'"') | is(b'\\') == 0
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z]{0,8}", ".{0,12}", Just("\"\\\n\u{0}\u{2028}é".to_owned())]
    }

    proptest! {
        #[test]
        fn plain_text_is_told_from_text_to_escape(text in "[ -~]{0,20}|[\\x00-\\x7f]{0,20}|.{0,20}|[a-zé]{0,20}") {
            let escaped = serde_json::Value::from(text.as_str()).to_string();
            prop_assert_eq!(is_plain(&text), escaped == format!("\"{text}\""));
        }

        #[test]
        fn an_event_is_written_as_it_is_declared(
            texts in [text(), text(), text(), text()],
            (timestamp, seq, server) in any::<(u64, Option<u64>, bool)>(),
            has_meta in any::<bool>(),
        ) {
            let [room_id, event, from, event_id] = &texts;
            let event = Event {
                room_id: room_id.into(),
                event: event.into(),
                data: r#"{"text":"a\u0000b","n":[1,2.50,null]}"#.into(),
                from: from.into(),
                timestamp,
                event_id: event_id.into(),
                seq,
                server,
                meta: has_meta.then(|| r#"{"a":1}"#.into()),
            };
            prop_assert_eq!(
                String::from_utf8(event.to_json()).unwrap(),
                String::from_utf8(serialise(&event, None)).unwrap()
            );
            let parsed: Event<'static> = serde_json::from_slice(&event.to_json()).unwrap();
            prop_assert_eq!(parsed.to_json(), event.to_json());
        }

        #[test]
        fn an_ok_is_written_as_it_is_declared(
            event_id in text(),
            (timestamp, seq, duplicate) in any::<(u64, Option<u64>, bool)>(),
        ) {
            let accepted = Accepted { seq, event_id, timestamp, duplicate };
            let id = RawValue::from_string("7".to_owned()).unwrap();
            prop_assert_eq!(accepted.encode(Some(&id)).json, serialise(&accepted, Some(&id)));
            prop_assert_eq!(accepted.encode(None).json, serialise(&accepted, None));
        }
    }

    /// Checks the text of a frame, and that a client which parses the text has the same frame.
    #[track_caller]
    fn golden<F: ServerFrame + de::DeserializeOwned>(frame: F, text: &str) {
        let id = RawValue::from_string("1".to_owned()).unwrap();
        let encoded = |frame: &F| String::from_utf8(frame.encode(Some(&id)).json).unwrap();
        assert_eq!(encoded(&frame), text);
        let newer = text.replacen('{', r#"{"new":{"of":"a later version"},"#, 1);
        assert_eq!(encoded(&serde_json::from_str(&newer).unwrap()), text);
    }

    #[test]
    fn each_frame_has_the_text_of_the_protocol() {
        golden(Done {}, r#"{"type":"ok","id":1}"#);
        golden(
            Joined {
                room_id: "chat".into(),
                name: Some("Chat".into()),
                epoch: "k".into(),
                seq: 57,
                event_id: "e".into(),
                resume: ResumeOutcome::Complete,
                replay: 16,
                members: 3,
            },
            r#"{"type":"joined","id":1,"roomId":"chat","name":"Chat","epoch":"k","seq":57,"eventId":"e","resume":"complete","replay":16,"members":3}"#,
        );
        golden(Left { room_id: "chat".into(), reason: None }, r#"{"type":"left","id":1,"roomId":"chat"}"#);
        golden(
            Left { room_id: "chat".into(), reason: Some("gone".into()) },
            r#"{"type":"left","id":1,"roomId":"chat","reason":"gone"}"#,
        );
        let event = RawValue::from_string(r#"{"a":1}"#.to_owned()).unwrap();
        golden(
            History { room_id: "chat".into(), events: vec![Cow::Owned(event)], more: true, next: Some(4) },
            r#"{"type":"history","id":1,"roomId":"chat","events":[{"a":1}],"more":true,"next":4}"#,
        );
        golden(
            History { room_id: "chat".into(), events: Vec::new(), more: false, next: None },
            r#"{"type":"history","id":1,"roomId":"chat","events":[],"more":false}"#,
        );
        let room = RoomInfo {
            room_id: "project:1".into(),
            name: "One".into(),
            description: Some("the first".into()),
            size: 2,
            max_size: Some(9),
            created_by: Some("alice".into()),
        };
        let text = r#"{"roomId":"project:1","name":"One","description":"the first","size":2,"maxSize":9,"createdBy":"alice"}"#;
        golden(
            Rooms { rooms: vec![room.clone()], more: true, next: Some("n".into()) },
            &format!(r#"{{"type":"rooms","id":1,"rooms":[{text}],"more":true,"next":"n"}}"#),
        );
        let plain = RoomInfo { description: None, max_size: None, created_by: None, ..room.clone() };
        golden(
            Rooms { rooms: vec![plain], more: false, next: None },
            r#"{"type":"rooms","id":1,"rooms":[{"roomId":"project:1","name":"One","size":2}],"more":false}"#,
        );
        golden(RoomCreated { room }, &format!(r#"{{"type":"roomCreated","id":1,"room":{text}}}"#));
        golden(RoomDeleted { room_id: "chat".into() }, r#"{"type":"roomDeleted","id":1,"roomId":"chat"}"#);
        golden(
            Members {
                room_id: "chat".into(),
                members: vec![Member { user_id: "alice".into(), connections: 2 }],
                size: 1,
                more: false,
            },
            r#"{"type":"members","id":1,"roomId":"chat","members":[{"userId":"alice","connections":2}],"size":1,"more":false}"#,
        );
        golden(
            Presence {
                room_id: "chat".into(),
                user_id: "alice".into(),
                change: PresenceChange::Joined,
                size: 1,
            },
            r#"{"type":"presence","id":1,"roomId":"chat","userId":"alice","change":"joined","size":1}"#,
        );
        golden(
            Skipped { room_id: "chat".into(), count: 5 },
            r#"{"type":"skipped","id":1,"roomId":"chat","count":5}"#,
        );
        golden(Reconnect { after_ms: 250 }, r#"{"type":"reconnect","id":1,"afterMs":250}"#);
        let refusal = Refusal::new(Code::RoomFull, "full");
        golden::<Error<'static>>(
            serde_json::from_slice(&Error::from(&refusal).encode(None).json).unwrap(),
            r#"{"type":"error","id":1,"code":"ROOM_FULL","message":"full"}"#,
        );
    }

    #[test]
    fn connected_has_the_text_of_the_protocol() {
        let mut connected = Connected {
            client_id: "c".into(),
            user_id: "u".into(),
            protocol: 1,
            schema: Some("s".into()),
            anonymous_token: Some("t".into()),
        };
        assert_eq!(
            String::from_utf8(connected.encode(None).json).unwrap(),
            r#"{"type":"connected","clientId":"c","userId":"u","protocol":1,"schema":"s","anonymousToken":"t"}"#
        );
        connected.anonymous_token = None;
        assert!(!String::from_utf8(connected.encode(None).json).unwrap().contains("anonymous"));
    }

    #[test]
    fn the_frames_of_an_older_server_are_read() {
        let connected: Connected<'_> = serde_json::from_str(r#"{"clientId":"c","userId":"u"}"#).unwrap();
        assert_eq!((connected.schema, connected.anonymous_token), (None, None));
        let joined = r#"{"roomId":"chat","epoch":"k","seq":5,"resume":"fresh"}"#;
        let joined: Joined<'_> = serde_json::from_str(joined).unwrap();
        assert_eq!((joined.name, &*joined.event_id, joined.replay, joined.members), (None, "", 0, 0));
        let members: Members<'_> = serde_json::from_str(r#"{"members":[{"userId":"a"}]}"#).unwrap();
        assert_eq!((members.members[0].connections, members.size, members.more), (0, 0, false));
        let history: History<'_> = serde_json::from_str(r#"{"roomId":"chat","events":[]}"#).unwrap();
        assert!(!history.more && history.next.is_none());
        let event =
            r#"{"roomId":"chat","event":"m","data":null,"from":"a","timestamp":1,"eventId":"e","meta":null}"#;
        let event: Event<'_> = serde_json::from_str(event).unwrap();
        assert_eq!((event.seq, event.server, event.meta, &*event.data.0), (None, false, None, "null"));
        let error: Error<'_> = serde_json::from_str(r#"{"code":"OF_A_LATER_VERSION"}"#).unwrap();
        assert_eq!(Refusal::from(error).code, Code::Unknown);
    }

    #[test]
    fn a_refusal_survives_its_frame() {
        let mut refusal = Refusal::rate_limited(Duration::from_millis(1_500));
        refusal.reason = Some("too-many-links".into());
        refusal.details = vec![Detail { path: "/text".into(), message: "too long".into() }];
        let frame = Error::from(&refusal).encode(None);
        assert_eq!(ServerFrameHeader::refusal_in(&frame.json), Some(refusal));
        assert_eq!(ServerFrameHeader::refusal_in(br#"{"error":"not found"}"#), None);
    }
}
