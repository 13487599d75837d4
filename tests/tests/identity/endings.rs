//! Connections and requests that end in the middle of something: what is carried out then, and what isn't.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use deadline::took;
use dialogue::{Cx, Event, Flow, Middleware, Next, Room, Server, backplane::Local, middleware::FromState};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, watch},
};

use crate::{
    club::{Porter, bearer, get, knock, token},
    harness::{Message, Result, Running, Socket, Stream, connect, is_refused, small_window, soon, until},
};

/// Middleware that holds each event at both sides of the log until the test lets it go.
#[derive(Debug, Clone)]
struct Turnstile {
    before: Arc<Side>,
    after: Arc<Side>,
}

#[derive(Debug)]
struct Side {
    /// Events that have come to this side.
    came: watch::Sender<usize>,
    leave: Semaphore,
}

impl Side {
    fn with(leave: usize) -> Arc<Self> {
        Arc::new(Side { came: watch::Sender::default(), leave: Semaphore::new(leave) })
    }

    async fn pass(&self) {
        self.came.send_modify(|came| *came += 1);
        if let Ok(leave) = self.leave.acquire().await {
            leave.forget();
        }
    }

    async fn has_seen(&self, events: usize) -> Result {
        soon("an event at the turnstile", self.came.subscribe().wait_for(|came| *came >= events)).await??;
        Ok(())
    }

    fn open(&self) {
        self.leave.add_permits(1_000);
    }
}

impl Turnstile {
    fn closed_before() -> Self {
        Turnstile { before: Side::with(0), after: Side::with(1_000) }
    }

    fn closed_after() -> Self {
        Turnstile { before: Side::with(1_000), after: Side::with(0) }
    }
}

impl FromState<Turnstile> for Turnstile {
    fn from_state(state: &Turnstile) -> Self {
        state.clone()
    }
}

impl<R: Room, E: Event> Middleware<R, E> for Turnstile {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        self.before.pass().await;
        let flow = next.run(cx, event).await;
        if flow.is_ok() {
            self.after.pass().await;
            self.after.came.send_modify(|came| *came += 100);
        }
        flow
    }
}

dialogue::rooms! {
    struct Gated;

    chat: [Message] via [websocket, sse] with [Turnstile];

    plain: [Message] via [websocket, sse];

    #[room(capacity = 1)]
    small: [Message] via [websocket, sse];
}

async fn open(turnstile: &Turnstile) -> Result<Running<GatedServer>> {
    holding(turnstile, 64 << 10).await
}

/// The same with another bound for what waits for a reader.
async fn holding(turnstile: &Turnstile, waiting: usize) -> Result<Running<GatedServer>> {
    let server =
        Gated::server().auth(Porter).state(turnstile.clone()).max_outbox_bytes(waiting).build().await?;
    let routes = Server::router(&server);
    Running::serve(server, routes).await
}

/// A socket in `room` that has sent `events` events, the first of which is at the turnstile.
async fn with_events_under_way(
    running: &Running<GatedServer>,
    turnstile: &Turnstile,
    token: &str,
    events: usize,
) -> Result<Socket> {
    let mut socket = Socket::over_as(small_window(running.address).await?, token).await?;
    socket.enter("chat", Value::Null).await?;
    for number in 0..events {
        socket.say("chat", &number.to_string()).await?;
    }
    turnstile.before.has_seen(1).await?;
    Ok(socket)
}

async fn said(running: &Running<GatedServer>) -> Result<usize> {
    Ok(running.server.chat().history().await?.events.len())
}

#[tokio::test]
async fn what_waits_when_a_token_expires_is_not_carried_out() -> Result {
    let turnstile = Turnstile::closed_before();
    let running = open(&turnstile).await?;
    let began = Instant::now();
    let under_way = with_events_under_way(&running, &turnstile, "alice//3000/secret", 20).await;
    took("what is said before the token expires", began.elapsed(), Duration::from_secs(3))?;
    let (frames, code) = under_way?.rest().await?;
    assert!(code == Some(4401) && frames.is_empty(), "{code:?} {frames:?}");
    turnstile.before.open();
    // One after another in the room, so that whatever was let through would be before it.
    running.server.chat().trigger(Message { text: "last".to_owned() }).await?;
    assert_eq!(said(&running).await?, 1);
    running.stop().await
}

#[tokio::test]
async fn what_waits_of_a_disconnected_user_is_not_carried_out() -> Result {
    let turnstile = Turnstile::closed_before();
    let running = open(&turnstile).await?;
    let mut socket = with_events_under_way(&running, &turnstile, &token("alice"), 20).await?;
    assert_eq!(running.server.users().get("alice").disconnect("enough").await?, 1);
    turnstile.before.open();
    running.server.chat().trigger(Message { text: "last".to_owned() }).await?;
    assert_eq!(said(&running).await?, 1);
    assert_eq!(socket.rest().await?.1, Some(4403));
    running.stop().await
}

#[tokio::test]
async fn what_waits_of_a_user_put_out_of_the_room_is_not_carried_out() -> Result {
    let turnstile = Turnstile::closed_before();
    let running = open(&turnstile).await?;
    let mut socket = with_events_under_way(&running, &turnstile, &token("alice"), 3).await?;
    assert!(running.server.users().get("alice").remove_from(&running.server.chat(), "enough").await?);
    turnstile.before.open();
    let mut refused = 0;
    while refused < 3 {
        let frame = socket.next().await?;
        assert!(frame["type"] == "left" || is_refused(&frame, "NOT_IN_ROOM"), "{frame}");
        refused += usize::from(frame["type"] == "error");
    }
    assert_eq!(said(&running).await?, 0);
    running.stop().await
}

#[tokio::test]
async fn what_waits_of_a_reader_that_is_cut_is_not_carried_out() -> Result {
    let turnstile = Turnstile::closed_before();
    let running = open(&turnstile).await?;
    let mut socket = Socket::over_as(small_window(running.address).await?, &token("alice")).await?;
    socket.enter("plain", Value::Null).await?;
    socket.enter("chat", Value::Null).await?;
    for number in 0..20 {
        socket.say("chat", &number.to_string()).await?;
    }
    turnstile.before.has_seen(1).await?;
    fill(&running).await?;
    until("it is cut", async || running.server.users().count() == 0).await?;
    turnstile.before.open();
    running.server.chat().trigger(Message { text: "last".to_owned() }).await?;
    assert_eq!(said(&running).await?, 1);
    running.stop().await
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_refuses_what_waits() -> Result {
    let turnstile = Turnstile::closed_before();
    let running = open(&turnstile).await?;
    let mut socket = with_events_under_way(&running, &turnstile, &token("alice"), 20).await?;
    let (address, began) = (running.address, Instant::now());
    let stopping = tokio::spawn(running.stop());
    until("it drains", async || matches!(get(address, "/health", "").await, Ok((503, _)))).await?;
    turnstile.before.open();
    // What is under way has so long to end.
    took("the beginning of a drain", began.elapsed(), Duration::from_secs(5))?;
    let (frames, code) = socket.rest().await?;
    let replies: Vec<_> = frames.iter().filter(|frame| frame["id"].is_string()).collect();
    assert_eq!((replies.len(), &replies[0]["type"]), (20, &json!("ok")), "{frames:?}");
    assert!(replies[1..].iter().all(|reply| is_refused(reply, "UNAVAILABLE")), "{replies:?}");
    assert_eq!((&frames[frames.len() - 1]["type"], code), (&json!("reconnect"), Some(1012)));
    stopping.await?
}

/// More than the buffers of a socket hold that nobody reads.
async fn fill(running: &Running<GatedServer>) -> Result {
    for _ in 0..400 {
        running.server.plain().trigger(Message { text: "x".repeat(32 << 10) }).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_socket_that_is_never_read_leaves_its_rooms_when_it_is_cut() -> Result {
    let running = open(&Turnstile::closed_before()).await?;
    let mut stuck = Socket::over_as(small_window(running.address).await?, &token("alice")).await?;
    stuck.enter("plain", Value::Null).await?;
    fill(&running).await?;
    let gone = async {
        while !running.server.plain().members().await?.is_empty() {
            tokio::task::yield_now().await;
        }
        Ok::<_, dialogue::Refusal>(())
    };
    // A keep-alive would take 45 s.
    deadline::within(Duration::from_secs(10), "the end of its membership", gone).await??;
    running.stop().await
}

#[tokio::test]
async fn a_token_that_has_expired_is_refused_wherever_it_is_shown() -> Result {
    let running = open(&Turnstile::closed_before()).await?;
    let expired = "alice//0/secret";
    for path in ["/rooms", "/rooms/plain/history", "/events?room=plain"] {
        let (status, body) = get(running.address, path, &bearer(expired)).await?;
        assert!(status == 401 && is_refused(&body, "UNAUTHENTICATED"), "{path}: {status} {body}");
    }
    let body = r#"{"text":"x"}"#;
    let answer =
        crate::harness::post(running.address, "/rooms/plain/events/message", &bearer(expired), body).await?;
    assert!(answer.0 == 401, "{answer:?}");
    assert!(knock(running.address, expired).await.is_err_and(|error| error.to_string().contains("401")));
    let auth = json!({ "type": "auth", "id": 1, "token": expired });
    let mut late = Socket::knock(connect(running.address).await?, "/ws", ("", "")).await?;
    late.send(auth.clone()).await?;
    let (frames, code) = late.rest().await?;
    assert!(frames.len() == 1 && is_refused(&frames[0], "UNAUTHENTICATED") && code == Some(4401));
    // On a live socket the older one stays.
    let mut alice = Socket::over_as(connect(running.address).await?, &token("alice")).await?;
    assert!(is_refused(&alice.ask(auth).await?, "UNAUTHENTICATED"));
    assert_eq!(alice.enter("plain", Value::Null).await?["type"], "joined");
    running.stop().await
}

#[tokio::test]
async fn a_request_whose_token_expires_meanwhile_puts_nothing_into_the_log() -> Result {
    let turnstile = Turnstile::closed_before();
    let running = open(&turnstile).await?;
    let address = running.address;
    let posting = tokio::spawn(async move {
        let headers = bearer("alice//1500/secret");
        crate::harness::post(address, "/rooms/chat/events/message", &headers, r#"{"text":"x"}"#).await
    });
    turnstile.before.has_seen(1).await?;
    // The same lifetime, so that the older token is over when this one is.
    let mut clock = knock(address, "bob//1500/secret").await?;
    assert_eq!(clock.rest().await?.1, Some(4401));
    turnstile.before.open();
    let (status, body) = soon("an answer", posting).await???;
    assert!(status == 401 && is_refused(&body, "UNAUTHENTICATED"), "{status} {body}");
    assert_eq!(said(&running).await?, 0);
    running.stop().await
}

#[tokio::test]
async fn a_token_that_expires_while_its_body_is_sent_is_refused() -> Result {
    let running = open(&Turnstile::closed_before()).await?;
    // A room without middleware; and the creation of a room.
    let requests = [("/rooms/plain/events/message", r#"{"text":"x"}"#), ("/rooms", r#"{"roomId":"plain"}"#)];
    for (path, body) in requests {
        let answer = answer_to_a_late_body(&running, path, body).await?;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("UNAUTHENTICATED"), "{path}: {answer}");
    }
    assert_eq!(running.server.plain().history().await?.events.len(), 0);
    running.stop().await
}

/// Sends a request, and its body once its token has expired.
async fn answer_to_a_late_body(running: &Running<GatedServer>, path: &str, body: &str) -> Result<String> {
    let mut wire = connect(running.address).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n{}\r\n",
        running.address,
        body.len(),
        bearer("alice//1500/secret")
    );
    wire.write_all(head.as_bytes()).await?;
    // The same lifetime, so that the older token is over when this one is.
    let mut clock = knock(running.address, "bob//1500/secret").await?;
    assert_eq!(clock.rest().await?.1, Some(4401));
    wire.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    soon("an answer", wire.read_to_string(&mut answer)).await??;
    Ok(answer)
}

#[tokio::test]
async fn the_rest_of_a_chain_runs_though_an_http_caller_goes_away() -> Result {
    let turnstile = Turnstile::closed_after();
    let running = open(&turnstile).await?;
    let mut wire = connect(running.address).await?;
    let body = r#"{"text":"x"}"#;
    let request = format!(
        "POST /rooms/chat/events/message HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{}\r\n{body}",
        running.address,
        body.len(),
        bearer(&token("alice"))
    );
    wire.write_all(request.as_bytes()).await?;
    turnstile.after.has_seen(1).await?;
    drop(wire);
    // The server has noticed by the time that it has answered somebody else.
    assert_eq!(get(running.address, "/rooms", &bearer(&token("bob"))).await?.0, 200);
    turnstile.after.open();
    turnstile.after.has_seen(101).await?;
    running.stop().await
}

#[tokio::test]
async fn the_rest_of_a_chain_runs_though_server_code_gives_up() -> Result {
    let turnstile = Turnstile::closed_after();
    let running = open(&turnstile).await?;
    let chat = running.server.chat();
    let triggering = tokio::spawn(async move { chat.trigger(Message { text: "x".to_owned() }).await });
    turnstile.after.has_seen(1).await?;
    triggering.abort();
    assert!(triggering.await.is_err_and(|error| error.is_cancelled()));
    turnstile.after.open();
    turnstile.after.has_seen(101).await?;
    running.stop().await
}

#[tokio::test]
async fn the_rest_of_a_chain_runs_though_the_socket_is_closed() -> Result {
    let turnstile = Turnstile::closed_after();
    let running = open(&turnstile).await?;
    let mut socket = with_events_under_way(&running, &turnstile, &token("alice"), 1).await?;
    turnstile.after.has_seen(1).await?;
    running.server.users().get("alice").disconnect("enough").await?;
    let (_, code) = socket.rest().await?;
    assert_eq!((code, said(&running).await?), (Some(4403), 1));
    turnstile.after.open();
    turnstile.after.has_seen(101).await?;
    running.stop().await
}

#[tokio::test]
async fn ones_own_dead_connection_keeps_one_out_of_no_room() -> Result {
    let running = open(&Turnstile::closed_before()).await?;
    let address = running.address;
    let mut dead = knock(address, &token("alice")).await?;
    dead.next().await?;
    dead.enter("small", Value::Null).await?;
    // It is open, and nothing is read of it or answered from now on.
    let mut other = Socket::over_as(connect(address).await?, &token("bob")).await?;
    assert!(is_refused(&other.enter("small", Value::Null).await?, "ROOM_FULL"));
    let mut back = Socket::over_as(connect(address).await?, &token("alice")).await?;
    assert_eq!(back.enter("small", Value::Null).await?["type"], "joined");
    assert_eq!(dead.rest().await?.1, Some(4408));

    // One that answers keeps its place.
    let living = tokio::spawn(async move { back.rest().await });
    const ANSWER: Duration = Duration::from_secs(2);
    let mut third = Socket::over_as(connect(address).await?, &token("alice")).await?;
    let asked = Instant::now();
    let refused = third.enter("small", Value::Null).await?;
    took("a sign of life", asked.elapsed(), ANSWER)?;
    assert!(is_refused(&refused, "ROOM_FULL"), "{refused}");
    let asked = Instant::now();
    let (status, body) = get(address, "/events?room=small", &bearer(&token("alice"))).await?;
    took("a sign of life", asked.elapsed(), ANSWER)?;
    assert!(status == 409 && is_refused(&body, "ROOM_FULL"), "{status} {body}");
    running.stop().await?;
    assert_eq!(living.await??.1, Some(1012));
    Ok(())
}

#[tokio::test]
async fn ones_own_dead_connection_to_another_instance_keeps_one_out_of_no_room() -> Result {
    let backplane = Local::new();
    let instance = async || {
        let server = Gated::server().auth(Porter).state(Turnstile::closed_before());
        let server = server.backplane(backplane.clone()).build().await?;
        let routes = Server::router(&server);
        Running::serve(server, routes).await
    };
    let (one, other) = (instance().await?, instance().await?);
    let mut dead = Socket::over_as(connect(one.address).await?, &token("alice")).await?;
    dead.enter("small", Value::Null).await?;
    until("the other one knows", async || {
        other.server.small().members().await.is_ok_and(|members| members == ["alice"])
    })
    .await?;
    let mut bob = Socket::over_as(connect(other.address).await?, &token("bob")).await?;
    assert!(is_refused(&bob.enter("small", Value::Null).await?, "ROOM_FULL"));
    let mut back = Socket::over_as(connect(other.address).await?, &token("alice")).await?;
    let asked = Instant::now();
    let joined = back.enter("small", Value::Null).await?;
    // The other instance is asked for so long at most.
    took("a place at another instance", asked.elapsed(), Duration::from_secs(4))?;
    assert_eq!(joined["type"], "joined", "{joined}");
    assert_eq!(dead.rest().await?.1, Some(4408));
    one.stop().await?;
    other.stop().await
}

#[tokio::test]
async fn ones_own_stream_that_takes_nothing_keeps_one_out_of_no_room() -> Result {
    let running = holding(&Turnstile::closed_before(), 1 << 30).await?;
    let (address, headers) = (running.address, bearer(&token("alice")));
    let both = "/events?room=small&room=plain";
    let stuck = Stream::with(small_window(address).await?, both, "", &headers).await?;
    // Less than it is cut for, and more than the system's buffers hold.
    let until_it_waits = async {
        let mut back = Socket::over_as(connect(address).await?, &token("alice")).await?;
        loop {
            if back.enter("small", Value::Null).await?["type"] == "joined" {
                return Result::<()>::Ok(());
            }
            running.server.plain().trigger(Message { text: "x".repeat(32 << 10) }).await?;
        }
    };
    soon("a place", until_it_waits).await??;
    drop(stuck);
    running.stop().await
}
