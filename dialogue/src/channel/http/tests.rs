//! The handlers of plain HTTP, called directly.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::Frame;
use tokio::sync::Notify;

use super::*;
use crate::observe::{MetricValue, MetricsExporter, MetricsReader, MetricsSource};

#[crate::event]
struct Message {
    #[validate(custom(function = not_a_panic))]
    text: String,
}

#[crate::event(from = server)]
struct Alert {}

crate::rooms! { struct Acme; project(u64): [Message, Alert] via [websocket]; }

fn not_a_panic(text: &str) -> Result<(), String> {
    assert_ne!(text, "panic");
    Ok(())
}

/// Hooks whose `room_created` signals its start, waits for permission, and signals its end.
#[derive(Clone, Default)]
struct BlockingHooks {
    started: Arc<Notify>,
    proceed: Arc<Notify>,
    finished: Arc<Notify>,
}

impl crate::Hooks for BlockingHooks {
    async fn room_created(&self, _: &crate::RoomRef<'_>, _: Option<&str>) {
        self.started.notify_one();
        self.proceed.notified().await;
        self.finished.notify_one();
    }
}

#[tokio::test]
async fn a_creation_completes_after_its_client_disconnects() {
    let hooks = BlockingHooks::default();
    let server = Acme::server().hooks(hooks.clone()).build().await.expect("a server");
    let request = Request::post("/rooms").header("content-type", "application/json");
    let request = request.body(Body::from(r#"{"roomId":"project:1"}"#)).expect("a request");
    let mut creating = Box::pin(create(State(server.engine()), request));
    tokio::select! {
        _ = &mut creating => panic!("the request completed before the hook"),
        () = hooks.started.notified() => {}
    }
    drop(creating);
    hooks.proceed.notify_one();
    let finished =
        deadline::within(Duration::from_secs(10), "the hook ends", hooks.finished.notified()).await;
    finished.unwrap_or_else(|late| panic!("{late}"));
    assert!(server.engine().registry.find("project:1").is_some());
}

/// A body that never produces a frame.
struct PendingBody;

impl http_body::Body for PendingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[test]
fn a_backend_sets_the_sender_percent_encoded() {
    let from = |value: &[u8]| {
        let value = HeaderValue::from_bytes(value).expect("a header");
        sender(&HeaderMap::from_iter([(http::HeaderName::from_static("dialogue-from"), value)])).ok()
    };
    assert_eq!(sender(&HeaderMap::new()).ok().as_deref(), Some("system"));
    for (value, expected) in [
        ("", "system"),
        ("billing", "billing"),
        ("J%C3%BCrgen%20M", "Jürgen M"),
        ("100%25", "100%"),
        ("a+b", "a+b"),
    ] {
        assert_eq!(from(value.as_bytes()).as_deref(), Some(expected), "{value}");
    }
    assert_eq!(from("Jürgen".as_bytes()).as_deref(), Some("Jürgen"));
    assert_eq!(from("%41".repeat(128).as_bytes()).as_deref(), Some(&*"A".repeat(128)));
    for value in ["%", "%4", "%zz", "a%2", "%C3", "%FF", "%0A", "a%00", "%C2%85", "%7f", "%+1"] {
        assert_eq!(from(value.as_bytes()), None, "{value}");
    }
    assert_eq!(from("%41".repeat(129).as_bytes()), None);
    assert_eq!((from(b"\xc3"), from(b"a\tb")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_body_has_one_timeout() {
    let arrived_at = Instant::now();
    let mut sent = Body::new(PendingBody);
    let late = read_body(&mut sent, 100).await.map_err(RefusalResponse);
    assert!(read_refused_body(late, sent, arrived_at).await.is_err());
    let waited = arrived_at.elapsed();
    assert!(waited < BODY_TIMEOUT + Duration::from_secs(1), "{waited:?}");
}

/// An exporter that exports nothing: with one, a server counts.
struct NoExporter;

impl MetricsExporter for NoExporter {
    fn attach(&self, _: MetricsReader) {}
}

/// Hooks that let nobody into `project:13`.
#[derive(Clone)]
struct Doorman;

impl crate::Hooks for Doorman {
    async fn before_join(&self, _: &crate::Caller<()>, room: &crate::RoomRef<'_>) -> Result<(), Refusal> {
        match room.id() {
            "project:13" => Err(Refusal::join_denied("nobody enters")),
            _ => Ok(()),
        }
    }
}

/// A body that comes once the node drains.
struct DrainedBody(Arc<Engine>, Option<&'static str>);

impl http_body::Body for DrainedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.drain.start();
        Poll::Ready(self.1.take().map(|body| Ok(Frame::data(body.into()))))
    }
}

/// Returns the number of triggers over HTTP that were refused.
fn refused_triggers(engine: &Engine) -> u64 {
    let families = engine.observed.metrics.as_ref().expect("the server counts").read();
    let series = families.into_iter().filter(|family| family.descriptor.name == "dialogue_triggers_total");
    let refused = series
        .flat_map(|family| family.series)
        .filter(|series| series.labels.contains(&"http") && !series.labels.contains(&"accepted"));
    refused.map(|series| if let MetricValue::Counter(count) = series.value { count } else { 0 }).sum()
}

async fn post(
    engine: &Arc<Engine>,
    path: (&str, &str),
    headers: &[(&str, &str)],
    body: Body,
) -> Result<(), Refusal> {
    let request = headers
        .iter()
        .fold(Request::post("/"), |request, (name, value)| request.header(*name, *value))
        .header("content-type", "application/json")
        .body(body)
        .expect("a request");
    let path = Path((path.0.to_owned(), path.1.to_owned()));
    trigger(State(Arc::clone(engine)), Ok(path), request)
        .await
        .map(drop)
        .map_err(|RefusalResponse(refusal)| refusal)
}

#[tokio::test]
async fn the_refusals_of_a_trigger_have_an_order_and_are_counted_once() {
    let server = Acme::server().hooks(Doorman).metrics(NoExporter).server_key("a server key of the backend");
    let server = server.build().await.expect("a server");
    let engine = server.engine();
    let bad_key = ("idempotency-key", "");
    let backend = ("authorization", "Bearer a server key of the backend");
    let bad_name = ("dialogue-from", "%zz");
    let message = r#"{"text":"x"}"#;
    /// Room, event, headers, body; the code, and a part of the message.
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'static str, Code, &'a str);
    let cases: [Case<'_>; 8] = [
        ("project:13", "alert", &[bad_key], "", Code::JoinDenied, "nobody enters"),
        ("project:1", "alert", &[bad_key], "", Code::EventNotAllowed, "`alert` is sent"),
        ("project:1", "message", &[bad_key], "", Code::InvalidRequest, "`Idempotency-Key`"),
        ("project:1", "message", &[], "", Code::InvalidRequest, "`data` is missing"),
        ("project:1", "message", &[], "{", Code::InvalidRequest, "the body is not JSON"),
        ("project:1", "message", &[], "{}", Code::ValidationFailed, ""),
        ("project:1", "message", &[], r#"{"text":"panic"}"#, Code::Internal, "internal error"),
        ("project:1", "message", &[backend, bad_name], message, Code::InvalidRequest, "`Dialogue-From`"),
    ];
    for (before, (room_id, event, headers, body, code, message)) in (0..).zip(cases) {
        let refused = post(&engine, (room_id, event), headers, Body::from(body)).await.expect_err(room_id);
        assert!(refused.code == code && refused.message.contains(message), "{refused:?} is not {code:?}");
        assert_eq!(refused_triggers(&engine), before + 1, "{refused:?}");
    }
    post(&engine, ("project:1", "message"), &[], Body::from(message)).await.expect("it is accepted");
    post(&engine, ("project:1", "alert"), &[backend], Body::from("{}")).await.expect("it is accepted");
    let body = Body::new(DrainedBody(Arc::clone(&engine), Some(message)));
    let refused = post(&engine, ("project:1", "message"), &[], body).await.expect_err("the node drains");
    assert_eq!((refused.code, refused_triggers(&engine)), (Code::Unavailable, 9));
}

#[tokio::test]
async fn a_panic_of_a_validator_fails_its_event_only() {
    let server = Acme::server().build().await.expect("a server");
    let panic = Message { text: "panic".to_owned() };
    let refused = server.project(1).trigger(panic).await.expect_err("it panics");
    assert_eq!(refused.code, Code::Internal);
    server.project(1).trigger(Message { text: "x".to_owned() }).await.expect("it is accepted");
}
