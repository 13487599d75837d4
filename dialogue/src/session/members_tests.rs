//! Lists of a room's members, and the presence frames that they have to agree with.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::wire::Encoding;

#[dialogue::event]
struct Message {
    text: String,
}

dialogue::rooms! {
    struct Acme;

    #[room(presence)]
    chat: [Message] via [websocket];
}

async fn member(engine: &Arc<Engine>, user: &str) -> Session {
    let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, usize::MAX, None, Vec::new());
    let new = NewConnection { source: Source::WebSocket, address: None, parent: None };
    let mut session = Session::new(Arc::clone(engine), outbox, new);
    let user = User { id: user.into(), authenticated: None, anonymous_token: None, is_new: false };
    session.identify(user).await.expect("it is let in");
    session.handle(r#"{"type":"join","roomId":"chat"}"#).await;
    session
}

/// Takes the frames of a type that were sent to a session since the last call.
fn sent(session: &Session, kind: &str) -> Vec<Value> {
    let mut sent = Vec::new();
    while let Poll::Ready(Ok(())) =
        session.outbox.poll_take(&mut Context::from_waker(Waker::noop()), usize::MAX, &mut sent)
    {}
    let text = String::from_utf8(sent.concat()).expect("text");
    let frames = text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
    frames.filter(|frame: &Value| frame["type"] == kind).collect()
}

/// Returns the members as a session is told: their ids and connections, and the size.
async fn listed(session: &mut Session) -> (Vec<(String, u64)>, u64) {
    session.handle(r#"{"type":"members","id":1,"roomId":"chat"}"#).await;
    let frame = sent(session, "members").remove(0);
    let members = frame["members"].as_array().expect("a list").iter();
    let member =
        |member: &Value| Some((member["userId"].as_str()?.to_owned(), member["connections"].as_u64()?));
    (members.filter_map(member).collect(), frame["size"].as_u64().expect("a number"))
}

#[tokio::test(start_paused = true)]
async fn a_user_who_may_come_back_unannounced_is_listed() {
    let engine = Acme::server().build().await.expect("a server").engine();
    let (mut ann, mut bob) = (member(&engine, "ann").await, member(&engine, "bob").await);
    sleep(Duration::from_secs(1)).await;
    bob.handle(r#"{"type":"leave","roomId":"chat"}"#).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(listed(&mut ann).await, (vec![("ann".into(), 1), ("bob".into(), 0)], 2));
    bob.handle(r#"{"type":"join","roomId":"chat"}"#).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(sent(&ann, "presence"), [] as [Value; 0], "a reload shows nothing");
    bob.handle(r#"{"type":"leave","roomId":"chat"}"#).await;
    sleep(Duration::from_secs(5)).await;
    let left = json!({ "type": "presence", "roomId": "chat", "userId": "bob", "change": "left", "size": 1 });
    assert_eq!(sent(&ann, "presence"), [left]);
    assert_eq!(listed(&mut ann).await, (vec![("ann".into(), 1)], 1));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_comes_back_after_a_list_without_him_is_announced() {
    let engine = Acme::server().build().await.expect("a server").engine();
    let (mut ann, mut bob) = (member(&engine, "ann").await, member(&engine, "bob").await);
    sleep(Duration::from_secs(1)).await;
    bob.handle(r#"{"type":"leave","roomId":"chat"}"#).await;
    // The grace period is over, and that he left is gathered with other changes.
    sleep(Duration::from_millis(2_020)).await;
    assert_eq!(listed(&mut ann).await, (vec![("ann".into(), 1)], 1));
    bob.handle(r#"{"type":"join","roomId":"chat"}"#).await;
    sleep(Duration::from_secs(1)).await;
    let joined =
        json!({ "type": "presence", "roomId": "chat", "userId": "bob", "change": "joined", "size": 2 });
    assert_eq!(sent(&ann, "presence"), [joined]);
}
