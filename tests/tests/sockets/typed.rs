//! The typed end of a room in server code, and the middleware in front of it.

use std::sync::{Arc, Mutex};

use dialogue::{Code, Cx, Delivery, Flow, Middleware, Next, Refusal, Room, Server};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::harness::{Result, Running, Socket, is_refused, post, soon};

/// What somebody writes down.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Note {
    #[validate(length(min = 1, max = 100))]
    pub(crate) text: String,
}

/// A note that is checked once more.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Memo {
    pub(crate) text: String,
}

dialogue::rooms! {
    struct Desk;

    #[room(retain(events = 5_000))]
    notes: [Note] via [websocket];

    /// Each middleware adds a word.
    traced: [Memo with [Word::new("event"), Word::new("last")]] via [websocket] with [Word::new("room"), Quiet];

    board(u64): [Note] via [websocket] with [Minutes];
}

/// Adds a word to what is said.
#[derive(Debug)]
pub(crate) struct Word(&'static str);

impl Word {
    pub(crate) fn new(word: &'static str) -> Self {
        Word(word)
    }
}

impl<R: Room> Middleware<R, Memo> for Word {
    async fn handle(&self, cx: &Cx<R>, mut event: Memo, next: impl Next<R, Memo>) -> Flow {
        event.text.push_str(self.0);
        next.run(cx, event).await
    }
}

/// Stops shouting, once the room had its word.
#[derive(Debug, Default)]
pub(crate) struct Quiet;

impl<R: Room> Middleware<R, Memo> for Quiet {
    async fn handle(&self, cx: &Cx<R>, event: Memo, next: impl Next<R, Memo>) -> Flow {
        if event.text == "AH room" {
            return Err(Refusal::blocked("no shouting"));
        }
        next.run(cx, event).await
    }
}

/// Writes down what was accepted, and by whom it was said.
#[derive(Debug, Default)]
pub(crate) struct Minutes;

static WRITTEN: Mutex<Vec<(String, Option<u64>, bool)>> = Mutex::new(Vec::new());

impl<R: Room> Middleware<R, Note> for Minutes {
    async fn handle(&self, cx: &Cx<R>, event: Note, next: impl Next<R, Note>) -> Flow {
        let accepted = next.run(cx, event).await?;
        WRITTEN.lock().unwrap().push((cx.room_id().to_owned(), accepted.seq, cx.is_server()));
        Ok(accepted)
    }
}

async fn start() -> Result<Running<DeskServer>> {
    let server = Desk::server().build().await?;
    let routes = Server::router(&server);
    Running::serve(server, routes).await
}

fn note(text: impl ToString) -> Note {
    Note { text: text.to_string() }
}

#[tokio::test]
async fn server_code_speaks_and_listens_in_one_instance_of_a_keyed_room() -> Result {
    let running = start().await?;
    let (heard, mut hearing) = mpsc::channel(8);
    running.server.board(7).on(move |note: Delivery<Note>| {
        let heard = heard.clone();
        async move { heard.send(note).await.unwrap_or_default() }
    });
    let mut member = Socket::join(running.address, "board:7").await?;
    running.server.board(8).trigger(note("elsewhere")).await?;
    let accepted = running.server.board(7).trigger(note("from the server")).await?;
    assert_eq!(accepted.seq, Some(1));
    let event = member.events(1).await?.remove(0);
    assert!(event["server"] == true && event["from"] == "system" && event["roomId"] == "board:7", "{event}");
    let delivery = soon("a delivery", hearing.recv()).await?.ok_or("it ended")?;
    assert_eq!((delivery.event.text.as_str(), delivery.from.as_str()), ("from the server", "system"));
    assert_eq!((delivery.server, delivery.event_id), (true, accepted.event_id));

    member.ask(trigger("board:7", json!({ "text": "from a member" }))).await?;
    let delivery = soon("a delivery", hearing.recv()).await?.ok_or("it ended")?;
    assert_eq!((delivery.server, delivery.seq), (false, Some(2)));
    running.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_slower_than_its_room_reads_on_from_the_log() -> Result {
    // More than wait for a handler, and no more than the room keeps.
    const NOTES: usize = 5_000;
    let running = start().await?;
    let (heard, mut hearing) = mpsc::channel(NOTES);
    let gate = Arc::new(Semaphore::new(0));
    let turnstile = Arc::clone(&gate);
    running.server.notes().on(move |note: Delivery<Note>| {
        let (heard, turnstile) = (heard.clone(), Arc::clone(&turnstile));
        async move {
            drop(turnstile.acquire().await);
            heard.send(note.event.text).await.unwrap_or_default();
        }
    });
    for number in 0..NOTES {
        running.server.notes().trigger(note(number)).await?;
    }
    gate.add_permits(1);
    for number in 0..NOTES {
        assert_eq!(soon("a note", hearing.recv()).await?, Some(number.to_string()));
    }
    running.stop().await
}

#[tokio::test]
async fn a_handler_that_is_stopped_hears_no_more() -> Result {
    let running = start().await?;
    let (heard, mut hearing) = mpsc::channel(8);
    let handle = running.server.notes().on(move |note: Delivery<Note>| {
        let heard = heard.clone();
        async move { heard.send(note.event.text).await.unwrap_or_default() }
    });
    running.server.notes().trigger(note("first")).await?;
    assert_eq!(soon("a note", hearing.recv()).await?.as_deref(), Some("first"));
    handle.stop();
    running.server.notes().trigger(note("second")).await?;
    // The handler is dropped, and its end of the channel with it.
    assert_eq!(soon("the end", hearing.recv()).await?, None);
    running.stop().await
}

#[tokio::test]
async fn the_room_s_middleware_comes_before_the_event_s() -> Result {
    let running = start().await?;
    let mut member = Socket::join(running.address, "traced").await?;
    running.server.traced().trigger(Memo { text: "server ".to_owned() }).await?;
    assert_eq!(member.events(1).await?[0]["data"], json!({ "text": "server roomeventlast" }));
    member.send(memo("member ")).await?;
    assert_eq!(member.events(1).await?[0]["data"], json!({ "text": "member roomeventlast" }));
    running.stop().await
}

#[tokio::test]
async fn what_a_middleware_blocks_reaches_nobody() -> Result {
    let running = start().await?;
    let mut member = Socket::join(running.address, "traced").await?;
    let reply = member.ask(memo("AH ")).await?;
    assert!(is_refused(&reply, "BLOCKED") && reply["message"] == "no shouting", "{reply}");
    let refusal = running.server.traced().trigger(Memo { text: "AH ".to_owned() }).await.unwrap_err();
    assert_eq!(refusal.code, Code::Blocked);
    let (status, body) = post(running.address, "/rooms/traced/events/memo", "", r#"{"text":"AH "}"#).await?;
    assert!(status == 422 && is_refused(&body, "BLOCKED"), "{status} {body}");
    running.server.traced().trigger(Memo { text: "ah".to_owned() }).await?;
    assert_eq!(member.events(1).await?[0]["seq"], 1);
    running.stop().await
}

#[tokio::test]
async fn a_middleware_may_act_once_an_event_was_accepted() -> Result {
    let running = start().await?;
    let mut member = Socket::join(running.address, "board:1789").await?;
    member.ask(trigger("board:1789", json!({ "text": "a" }))).await?;
    running.server.board(1789).trigger(note("b")).await?;
    // Refused before any middleware.
    let refused = running.server.board(1789).trigger(note("")).await;
    assert!(refused.is_err());
    let written = WRITTEN.lock().unwrap().clone();
    let own: Vec<_> = written.into_iter().filter(|(room, ..)| room == "board:1789").collect();
    let expected = [(1, false), (2, true)].map(|(seq, server)| ("board:1789".to_owned(), Some(seq), server));
    assert_eq!(own, expected);
    running.stop().await
}

#[tokio::test]
async fn a_broken_rule_is_named_wherever_an_event_comes_from() -> Result {
    let running = start().await?;
    let refusal = running.server.notes().trigger(note("")).await.unwrap_err();
    assert_eq!((refusal.code, refusal.details[0].path.as_str()), (Code::ValidationFailed, "/text"));
    let mut member = Socket::join(running.address, "notes").await?;
    for data in [json!({ "text": "" }), json!({ "text": 7 }), json!({})] {
        let reply = member.ask(trigger("notes", data.clone())).await?;
        assert!(is_refused(&reply, "VALIDATION_FAILED") && reply["details"][0]["path"] == "/text", "{reply}");
        let (status, body) = post(running.address, "/rooms/notes/events/note", "", &data.to_string()).await?;
        assert!(status == 422 && body["details"] == reply["details"], "{status} {body}");
    }
    assert_eq!(running.server.notes().trigger(note("fine")).await?.seq, Some(1));
    running.stop().await
}

fn memo(text: &str) -> Value {
    json!({ "type": "trigger", "id": text, "roomId": "traced", "event": "memo", "data": { "text": text } })
}

fn trigger(room: &str, data: Value) -> Value {
    json!({ "type": "trigger", "id": 1, "roomId": room, "event": "note", "data": data })
}
