use std::task::{Context, Poll, Waker};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::{
    cluster::backplane::Local,
    live::{RoomCommand, StoreOperation},
    observe::{MetricValue, MetricsExporter, MetricsReader, MetricsSource, Series},
    wire::Encoding,
};

#[dialogue::event]
struct Message {
    text: String,
}

#[dialogue::event(from = server)]
struct Alert {
    text: String,
}

dialogue::rooms! {
    struct Acme;

    chat: [Message, Alert] via [websocket];

    #[room(capacity = 2)]
    pair: [Message] via [websocket];

    project(u64): [Message] via [websocket];
}

async fn identified(engine: &Arc<Engine>, user: &str) -> Session {
    let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, usize::MAX, None, Vec::new());
    let new = NewConnection { source: Source::WebSocket, address: None, parent: None };
    let mut session = Session::new(Arc::clone(engine), outbox, new);
    let user = User { id: user.into(), authenticated: None, anonymous_token: None, is_new: false };
    session.identify(user).await.unwrap();
    session
}

/// Takes the frames that a session sent since the last call.
fn sent(session: &Session) -> Vec<Value> {
    let mut sent = Vec::new();
    while let Poll::Ready(Ok(())) =
        session.outbox.poll_take(&mut Context::from_waker(Waker::noop()), usize::MAX, &mut sent)
    {}
    let text = String::from_utf8(sent.concat()).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

#[tokio::test]
async fn a_member_that_was_just_removed_can_not_subscribe() {
    let engine = Acme::server().build().await.unwrap().engine();
    let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, usize::MAX, None, Vec::new());
    let (connection_id, mut session) = (
        outbox.id(),
        Session::new(
            Arc::clone(&engine),
            outbox,
            NewConnection { source: Source::WebSocket, address: None, parent: None },
        ),
    );
    let user = User { id: "alice".into(), authenticated: None, anonymous_token: None, is_new: false };
    session.identify(user).await.unwrap();
    session.join("chat", Channel::WebSocket, JoinOptions::default()).await.unwrap();
    engine.registry.find("chat").unwrap().run(move |state| state.leave(connection_id)).await;
    sent(&session);
    let subscribe = json!({ "type": "subscribe", "id": 1, "roomId": "chat", "events": ["*"] });
    session.handle(&subscribe.to_string()).await;
    assert_eq!(sent(&session)[0]["code"], "NOT_IN_ROOM");
}

/// An exporter that exports nothing: with one, a server counts.
struct NoExporter;

impl MetricsExporter for NoExporter {
    fn attach(&self, _: MetricsReader) {}
}

#[tokio::test]
async fn membership_comes_before_invalid_fields() {
    let engine = Acme::server().metrics(NoExporter).build().await.unwrap().engine();
    let mut session = identified(&engine, "alice").await;
    let mut code = async |request: Value, joined: bool| {
        if joined {
            session.join("chat", Channel::WebSocket, JoinOptions::default()).await.unwrap();
        }
        sent(&session);
        session.handle(&request.to_string()).await;
        sent(&session)[0]["code"].as_str().unwrap_or_default().to_owned()
    };
    let requests = [
        json!({ "type": "trigger", "roomId": "chat", "event": "message" }),
        json!({ "type": "trigger", "roomId": "chat", "event": "message", "data": {}, "key": 7 }),
        json!({ "type": "trigger", "roomId": "chat", "event": "message", "data": {}, "key": "" }),
        json!({ "type": "trigger", "roomId": "chat", "event": "message", "data": {}, "meta": [] }),
        json!({ "type": "trigger", "roomId": "chat", "data": {} }),
        json!({ "type": "subscribe", "roomId": "chat" }),
        json!({ "type": "unsubscribe", "roomId": "chat", "events": 7 }),
        json!({ "type": "getHistory", "roomId": "chat", "limit": "many" }),
        json!({ "type": "members", "roomId": "chat", "after": 7 }),
    ];
    for request in &requests {
        assert_eq!(code(request.clone(), false).await, "NOT_IN_ROOM", "{request}");
    }
    let nowhere = json!({ "type": "join", "roomId": "nowhere", "events": 7 });
    assert_eq!(code(nowhere, false).await, "ROOM_NOT_FOUND");
    for request in &requests {
        assert_eq!(code(request.clone(), true).await, "INVALID_REQUEST", "{request}");
    }
    let unknown = json!({ "type": "trigger", "roomId": "chat", "event": "nope" });
    assert_eq!(code(unknown, true).await, "EVENT_NOT_ALLOWED");
    let alert = json!({ "type": "trigger", "roomId": "chat", "event": "alert" });
    assert_eq!(code(alert, true).await, "EVENT_NOT_ALLOWED");
    let alert = json!({ "type": "trigger", "roomId": "chat", "event": "alert", "data": {}, "key": "" });
    assert_eq!(code(alert, true).await, "EVENT_NOT_ALLOWED");
    // Of the triggers in the room, four named an event and had an invalid field, and two named the server's event.
    let families = engine.observed.metrics.as_ref().unwrap().read();
    let triggers = families.into_iter().filter(|family| family.descriptor.name == "dialogue_triggers_total");
    let count = |outcome: &str, series: &[Series]| {
        let series = series.iter().filter(|series| series.labels.contains(&outcome));
        series
            .map(|series| if let MetricValue::Counter(count) = series.value { count } else { 0 })
            .sum::<u64>()
    };
    let counts: Vec<_> =
        triggers.map(|family| (count("invalid", &family.series), count("denied", &family.series))).collect();
    assert_eq!(counts, [(4, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_takes_one_place_at_each_step_of_its_join() {
    for polls in 0..16 {
        let engine = Acme::server().backplane(Local::new()).build().await.unwrap().engine();
        let (mut alice, mut bob) = (identified(&engine, "alice").await, identified(&engine, "bob").await);
        let mut joining = Box::pin(alice.join("pair", Channel::WebSocket, JoinOptions::default()));
        let mut is_done = false;
        for _ in 0..polls {
            is_done = is_done || joining.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
            // The tasks of the room and of the cluster run, and the join doesn't.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let joined = bob.join("pair", Channel::WebSocket, JoinOptions::default()).await;
        assert_eq!(joined, Ok(()), "after {polls} polls of the other join");
        if !is_done {
            assert_eq!(joining.await, Ok(()));
        }
    }
}

#[tokio::test]
async fn a_room_that_is_deleted_stays_so_whatever_was_queued_behind() {
    let server = Acme::server().backplane(Local::new()).build().await.unwrap();
    server.project(1).trigger(Message { text: "x".to_owned() }).await.unwrap();
    let instance = server.engine().registry.find("project:1").unwrap();
    let (begun, begins) = oneshot::channel();
    let (resume, waits) = oneshot::channel();
    assert!(instance.push(RoomCommand::Pause(begun, waits)).is_ok());
    begins.await.unwrap();
    let delete = || {
        let (reply, deleted) = oneshot::channel();
        assert!(instance.push(StoreOperation::Delete(DELETED_REASON, reply)).is_ok());
        deleted
    };
    let first = delete();
    let (probe, probed) = oneshot::channel();
    assert!(instance.push(StoreOperation::Probe(probe)).is_ok());
    assert!(instance.push(StoreOperation::CatchUp).is_ok());
    let second = delete();
    drop(resume);
    assert!(first.await.unwrap().is_ok_and(|removed| removed.is_some()));
    probed.await.unwrap();
    assert!(second.await.unwrap().is_ok_and(|removed| removed.is_none()));
}
