//! The middleware that comes along.

use std::{future::pending, time::Duration};

use dialogue::{
    Cx, Flow, Next, Room,
    middleware::{ContentFilter, Dedup, Logger, Require, RequireRole, Timeout},
};
use serde_json::Value;

use crate::{
    harness::{Result, Running, ask, is_refused, post},
    tokens::{Named, Tokens},
};

#[dialogue::event]
pub(crate) struct Said {
    #[filter]
    text: String,
    #[filter]
    tags: Vec<String>,
    link: String,
}

/// Never comes to an end.
async fn stuck<R: Room>(_: &Cx<R>, _: Said, _: impl Next<R, Said>) -> Flow {
    pending().await
}

/// Takes longer than it may, once the event is with the log.
async fn slow_to_return<R: Room>(cx: &Cx<R>, event: Said, next: impl Next<R, Said>) -> Flow {
    let flow = next.run(cx, event).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    flow
}

dialogue::rooms! {
    struct Club;

    masked: [Said] via [websocket] with [ContentFilter::words(["spam"]).masked()];
    blocked: [Said] via [websocket]
        with [ContentFilter::words(["spam"]).reason("no advertising"), ContentFilter::patterns([r"\d{6}"])];
    members: [Said] via [websocket] with [RequireRole::new("member")];
    alices: [Said] via [websocket] with [Require::<Named>::new("only for Alice", |user| user.name == "alice")];
    once: [Said] via [websocket] with [Dedup::within(Duration::from_secs(3_600))];
    late: [Said] via [websocket] with [Timeout::after(Duration::from_millis(50)), fn stuck];
    kept: [Said] via [websocket] with [Timeout::after(Duration::from_millis(50)), fn slow_to_return];
}

struct Open(Running<ClubServer>);

impl Open {
    async fn new() -> Result<Self> {
        let logger = Logger::new().payloads().redact(["text"]);
        let server = Club::server().auth(Tokens).middleware(logger).build().await?;
        let routes = server.router();
        Ok(Open(Running::serve(server, routes).await?))
    }

    /// Says `text` as `user`, and as a tag; yields what it is answered.
    async fn say(&self, user: &str, room: &str, text: &str, more: &str) -> Result<Value> {
        let said = Said { text: text.into(), tags: vec![text.into()], link: "spam".into() };
        let headers = format!("Authorization: Bearer {user}\r\n{more}");
        let path = format!("/rooms/{room}/events/said");
        Ok(post(self.0.address, &path, &headers, &serde_json::to_string(&said)?).await?.1)
    }

    /// What was said last.
    async fn heard(&self, room: &str) -> Result<Value> {
        let headers = "Authorization: Bearer alice\r\n";
        let (_, page) = ask(self.0.address, "GET", &format!("/rooms/{room}/history"), headers).await?;
        Ok(serde_json::from_str::<Value>(&page)?["events"][0]["data"].clone())
    }
}

#[tokio::test]
async fn a_filter_reads_what_is_marked_and_nothing_else() -> Result {
    let club = Open::new().await?;
    assert_eq!(club.say("alice", "masked", "Spam, spammer", "").await?["type"], "ok");
    let heard = serde_json::json!({ "text": "****, spammer", "tags": ["****, spammer"], "link": "spam" });
    assert_eq!(club.heard("masked").await?, heard);
    let refused = club.say("alice", "blocked", "SPAM", "").await?;
    assert!(is_refused(&refused, "BLOCKED") && refused["message"] == "no advertising");
    assert!(is_refused(&club.say("alice", "blocked", "call 123456", "").await?, "BLOCKED"));
    assert_eq!(club.say("alice", "blocked", "ham", "").await?["type"], "ok");
    club.0.stop().await
}

#[tokio::test]
async fn who_is_somebody_may_speak() -> Result {
    let club = Open::new().await?;
    for (user, room, allowed) in [
        ("alice/member", "members", true),
        ("alice/guest", "members", false),
        ("alice", "alices", true),
        ("bob", "alices", false),
    ] {
        let answer = club.say(user, room, "x", "").await?;
        assert_eq!(answer["type"] == "ok", allowed, "{user} in {room}: {answer}");
        assert!(allowed || is_refused(&answer, "PERMISSION_DENIED"), "{answer}");
    }
    club.0.server.members().trigger(Said { text: "x".into(), tags: vec![], link: "".into() }).await?;
    club.0.stop().await
}

#[tokio::test]
async fn nobody_says_the_same_twice_but_by_a_retry() -> Result {
    let club = Open::new().await?;
    let key = "Idempotency-Key: k\r\n";
    let first = club.say("alice", "once", "hi", key).await?;
    let retried = club.say("alice", "once", "hi", key).await?;
    assert_eq!((&retried["seq"], &retried["duplicate"]), (&first["seq"], &Value::Bool(true)));
    assert!(is_refused(&club.say("alice", "once", "hi", "").await?, "BLOCKED"));
    assert_eq!(club.say("bob", "once", "hi", "").await?["type"], "ok");
    assert_eq!(club.say("alice", "once", "ho", "").await?["type"], "ok");
    club.0.stop().await
}

#[tokio::test]
async fn what_takes_too_long_is_broken_off_unless_it_is_with_the_log() -> Result {
    let club = Open::new().await?;
    assert!(is_refused(&club.say("alice", "late", "x", "").await?, "UNAVAILABLE"));
    assert_eq!(club.say("alice", "kept", "x", "").await?["type"], "ok");
    club.0.stop().await
}
