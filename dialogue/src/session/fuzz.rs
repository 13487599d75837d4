//! Fuzzing of the session: no frame makes it panic, omit a reply, or reply twice.
//!
//! Runs for `DIALOGUE_FUZZ_SECONDS` (3); `DIALOGUE_FUZZ_SEED` repeats a run.

use std::{
    env,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::{Value, json};

use super::*;
use crate::wire::Encoding;

#[dialogue::event]
struct Message {
    #[validate(length(min = 1, max = 20))]
    text: String,
}

#[dialogue::event(ephemeral)]
struct Typing {
    active: bool,
}

dialogue::rooms! {
    struct Acme;

    #[room(retain(events = 10))]
    chat: [Message, Typing] via [websocket];

    project(u64): [Message] via [websocket];
}

/// The number of frames that are sent to one connection, before a new, empty server is created.
const FRAMES_PER_SERVER: usize = 500;

#[tokio::test]
async fn every_frame_gets_at_most_one_reply_and_one_with_an_id_gets_it() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let end = Instant::now() + Duration::from_secs(number("DIALOGUE_FUZZ_SECONDS").unwrap_or(3));
    let seed = number("DIALOGUE_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("DIALOGUE_FUZZ_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    while Instant::now() < end {
        let mut connection = Connection::open().await;
        for _ in 0..FRAMES_PER_SERVER {
            let frame = frame(&mut rng);
            let replies = connection.send(&frame).await;
            assert!(replies.len() <= 1, "{frame}\n{replies:?}");
            if has_id(&frame) {
                assert_eq!(replies.len(), 1, "{frame}");
            }
        }
        connection.assert_works().await;
    }
}

struct Connection {
    session: Session,
}

impl Connection {
    async fn open() -> Self {
        let engine = Acme::server().max_instances(100).without_frame_limit().build().await.unwrap().engine();
        let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, usize::MAX, None, Vec::new());
        let user = User { id: "alice".into(), authenticated: None, anonymous_token: None, is_new: false };
        let mut session = Session::new(
            engine,
            outbox,
            NewConnection { source: Source::WebSocket, address: None, parent: None },
        );
        session.identify(user).await.unwrap();
        Connection { session }
    }

    /// Sends one frame, and returns the replies to it.
    async fn send(&mut self, frame: &str) -> Vec<Value> {
        self.session.handle(frame).await;
        let registry = &self.session.engine.registry;
        for room in registry.list(None, |_, _| true, usize::MAX).await.expect("memory lists").rooms {
            // Runs after the commands that were queued before.
            if let Some(instance) = registry.find(&room.room_id) {
                instance.barrier().await;
            }
        }
        let mut sent = Vec::new();
        while let Poll::Ready(taken) =
            self.session.outbox.poll_take(&mut Context::from_waker(Waker::noop()), usize::MAX, &mut sent)
        {
            taken.unwrap();
        }
        let text = String::from_utf8(sent.concat()).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|json| serde_json::from_str(json).unwrap()).filter(is_reply).collect()
    }

    async fn assert_works(&mut self) {
        let join = json!({ "type": "join", "id": "j", "roomId": "chat", "events": ["*"] });
        assert_eq!(self.send(&join.to_string()).await[0]["type"], "joined");
        let trigger = json!({ "type": "trigger", "id": "t", "roomId": "chat", "event": "message", "data": { "text": "a" } });
        assert_eq!(self.send(&trigger.to_string()).await[0]["type"], "ok");
    }
}

fn is_reply(frame: &Value) -> bool {
    match frame["type"].as_str() {
        Some("event" | "roomCreated" | "roomDeleted") => false,
        // The room was deleted.
        Some("left") => frame["reason"].is_null(),
        _ => true,
    }
}

/// Returns whether a frame is a request with a valid id.
fn has_id(frame: &str) -> bool {
    match serde_json::from_str::<Value>(frame).unwrap_or_default().get("id") {
        Some(Value::String(id)) => id.len() <= 64,
        Some(Value::Number(id)) => id.is_i64() || id.is_u64(),
        _ => false,
    }
}

/// The values of each field: valid ones first, then invalid ones.
const FIELDS: [(&str, &[&str]); 21] = [
    ("id", &["1", "\"a\"", "-7", "\"\\u00e9\"", "1.5", "null", "[]", "\"\""]),
    (
        "roomId",
        &["\"chat\"", "\"project:1\"", "\"project:2\"", "\"project:007\"", "\"project:\"", "\"nope\"", "7"],
    ),
    ("event", &["\"message\"", "\"typing\"", "\"nope\"", "\"*\"", "null"]),
    ("data", &["{\"text\":\"a\"}", "{\"text\":\"\"}", "{\"active\":true}", "{}", "[\"a\"]", "null", "1e999"]),
    ("key", &["\"k\"", "\"l\"", "\"\"", "7"]),
    ("meta", &["{\"a\":\n1}", "null", "\"m\"", "[[[[]]]]"]),
    ("events", &["[\"*\"]", "[]", "[\"message\"]", "[\"nope\"]", "\"message\"", "[1]"]),
    (
        "since",
        &[
            "{\"epoch\":\"k\",\"seq\":18446744073709551615,\"eventId\":\"\"}",
            "{\"epoch\":\"\",\"seq\":0}",
            "{}",
            "null",
        ],
    ),
    ("before", &["0", "5", "18446744073709551615", "-1", "\"5\""]),
    ("limit", &["1", "50", "200", "0", "18446744073709551615", "-1", "1.0"]),
    ("after", &["\"chat\"", "\"\"", "\"project:1\"", "7"]),
    ("watch", &["true", "false", "1"]),
    ("name", &["\"A room\"", "7"]),
    ("description", &["\"For us\"", "null"]),
    ("maxSize", &["1", "0", "4294967296"]),
    ("token", &["\"t\"", "null"]),
    ("other", &["{\"a\":{\"a\":{\"a\":[]}}}", "\"\\ud800\""]),
    ("provider", &["\"fcm\"", "\"webpush\"", "\"nope\"", "7"]),
    ("subscription", &["{\"endpoint\":\"https://e.example\",\"keys\":{}}", "[]", "7"]),
    ("language", &["\"de\"", "\"\"", "7"]),
    ("rooms", &["[\"chat\"]", "[]", "[7]", "\"chat\""]),
];

const TYPES: [&str; 14] = [
    "auth",
    "join",
    "leave",
    "subscribe",
    "unsubscribe",
    "trigger",
    "getHistory",
    "listRooms",
    "createRoom",
    "deleteRoom",
    "members",
    "registerPush",
    "unregisterPush",
    "nope",
];

fn frame(rng: &mut Rng) -> String {
    let mut fields = vec![format!("\"type\":\"{}\"", TYPES[rng.usize(..TYPES.len())])];
    for (name, values) in FIELDS {
        if rng.u8(..3) > 0 {
            // The minimum of two prefers the first, valid values.
            let at = rng.usize(..values.len()).min(rng.usize(..values.len()));
            fields.push(format!("\"{name}\":{}", values[at]));
        }
    }
    rng.shuffle(&mut fields);
    let mut frame = format!("{{{}}}", fields.join(",")).into_bytes();
    if rng.u8(..3) == 0 {
        for _ in 0..rng.usize(1..5) {
            mutate(&mut frame, rng);
        }
    }
    String::from_utf8_lossy(&frame).into_owned()
}

fn mutate(frame: &mut Vec<u8>, rng: &mut Rng) {
    const BYTES: &[u8] = b"{}[]\",:0e-\\ \n\0\xff";
    if frame.is_empty() {
        return;
    }
    let (at, other) = (rng.usize(..frame.len()), rng.usize(..frame.len()));
    match rng.u8(..5) {
        0 => frame[at] = rng.u8(..),
        1 => frame.insert(at, BYTES[rng.usize(..BYTES.len())]),
        2 => drop(frame.remove(at)),
        3 => frame.truncate(at),
        _ => {
            let part = frame[at.min(other)..at.max(other)].to_vec();
            frame.splice(at..at, part);
        }
    }
}
