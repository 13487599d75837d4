use std::task::{Context, Poll, Waker};

use serde_json::{Value, json};

use super::*;
use crate::wire::Encoding;

#[dialogue::event]
struct Message {
    text: String,
}

dialogue::rooms! {
    struct Acme;

    chat: [Message] via [websocket];
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
