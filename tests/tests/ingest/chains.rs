//! The order of a chain, and what each form of middleware may do.

use std::sync::{Arc, Mutex};

use dialogue::{Cx, Event, Flow, Middleware, Next, Refusal, Room, middleware::FromState};
use serde_json::json;

use crate::{
    harness::{Message, Result, Running, Socket, is_refused, post, texts},
    tokens::Tokens,
};

/// Where middleware notes what passes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: String) {
        self.0.lock().unwrap().push(note);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Notes what goes in and comes out, under its own name.
#[derive(Debug)]
pub(crate) struct Noting(&'static str, Notes);

impl FromState<Notes> for Noting {
    fn from_state(notes: &Notes) -> Self {
        Noting("room", notes.clone())
    }
}

impl<R: Room, E: Event> Middleware<R, E> for Noting {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        self.1.add(format!("{} {} of {}", self.0, E::NAME, cx.from()));
        let flow = next.run(cx, event).await;
        self.1.add(format!("{} {}", self.0, if flow.is_ok() { "accepted" } else { "refused" }));
        flow
    }
}

#[dialogue::event]
pub(crate) struct Shout {
    text: String,
}

async fn quieter<R: Room>(cx: &Cx<R>, mut event: Shout, next: impl Next<R, Shout>) -> Flow {
    event.text = event.text.to_lowercase();
    next.run(cx, event).await
}

dialogue::rooms! {
    struct House;

    hall: [
        Message with [async |cx, event, next| match event.text.as_str() {
            "" => Err(Refusal::blocked("say something")),
            _ => next.run(cx, event).await,
        }],
        Shout with [fn quieter],
    ] via [websocket] with [Noting];

    attic: [Message] via [websocket];
}

async fn open(notes: &Notes) -> Result<Running<HouseServer>> {
    let server = House::server()
        .auth(Tokens)
        .state(notes.clone())
        .middleware(Noting("first", notes.clone()))
        .middleware(Noting("second", notes.clone()))
        .build()
        .await?;
    let routes = server.router();
    Running::serve(server, routes).await
}

#[tokio::test]
async fn the_server_comes_first_then_the_room_then_the_event() -> Result {
    let notes = Notes::default();
    let house = open(&notes).await?;
    let headers = "Authorization: Bearer alice\r\n";
    let answer = post(house.address, "/rooms/hall/events/message", headers, r#"{"text":""}"#).await?;
    assert!(is_refused(&answer.1, "BLOCKED") && answer.1["message"] == "say something");
    let into = ["first", "second", "room"].map(|name| format!("{name} message of alice"));
    let out = ["room", "second", "first"].map(|name| format!("{name} refused"));
    assert_eq!(notes.take(), [into, out].concat());
    house.stop().await
}

#[tokio::test]
async fn events_of_server_code_pass_it_too() -> Result {
    let notes = Notes::default();
    let house = open(&notes).await?;
    assert!(house.server.hall().trigger(Message { text: String::new() }).await.is_err());
    assert_eq!(notes.take().len(), 6);
    house.server.attic().trigger(Message { text: "x".into() }).await?;
    let into = ["first message of system", "second message of system"];
    assert_eq!(notes.take(), [into, ["second accepted", "first accepted"]].concat());
    house.stop().await
}

#[tokio::test]
async fn what_middleware_makes_of_an_event_is_what_is_heard() -> Result {
    let house = open(&Notes::default()).await?;
    let mut alice = Socket::open_as(house.address, "alice").await?;
    alice.enter("hall", serde_json::Value::Null).await?;
    let shout =
        json!({ "type": "trigger", "id": 1, "roomId": "hall", "event": "shout", "data": { "text": "HEY" } });
    alice.send(shout).await?;
    assert_eq!(texts(&alice.events(1).await?), ["hey"]);
    house.stop().await
}

/// Panics at a word.
#[derive(Debug, Default)]
pub(crate) struct Fuse;

impl<R: Room> Middleware<R, Message> for Fuse {
    async fn handle(&self, cx: &Cx<R>, event: Message, next: impl Next<R, Message>) -> Flow {
        assert_ne!(event.text, "fuse", "what middleware may do, and shouldn't");
        next.run(cx, event).await
    }
}

dialogue::rooms! {
    struct Wired;

    fused: [Message] via [websocket] with [Fuse];
}

#[tokio::test]
async fn middleware_that_panics_fails_its_own_event_and_hurts_nobody_else() -> Result {
    let server = Wired::server().build().await?;
    let routes = server.router();
    let running = Running::serve(server, routes).await?;
    let mut socket = Socket::join(running.address, "fused").await?;
    let say = |text: &str| json!({ "type": "trigger", "id": text, "roomId": "fused", "event": "message", "data": { "text": text } });
    assert!(is_refused(&socket.ask(say("fuse")).await?, "INTERNAL"));
    assert_eq!(socket.ask(say("still here")).await?["seq"], 1);
    assert_eq!(post(running.address, "/rooms/fused/events/message", "", r#"{"text":"fuse"}"#).await?.0, 500);
    let refused = running.server.fused().trigger(Message { text: "fuse".into() }).await;
    assert_eq!(refused.map_err(|refusal| refusal.code), Err(dialogue::Code::Internal));
    running.stop().await
}
