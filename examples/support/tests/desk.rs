//! The support desk with an agent and a customer, in one process, over real sockets and a store on disk.

use std::{
    error::Error,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header, request::Builder},
};
use deadline::within;
use dialogue::{client, prelude::*};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use support::{
    app::{self, Settings},
    rooms::{Assigned, Closed, DeskClient, DeskServer, Message, TicketRoomClient, TicketRoomEvent},
};
use tokio::{sync::oneshot, task::JoinHandle, time::sleep};
use tower::ServiceExt as _;

type Outcome = Result<(), Box<dyn Error>>;

const LIMIT: Duration = Duration::from_secs(20);
const PACE: Duration = Duration::from_millis(20);

/// A desk that is being served.
struct Running {
    server: Arc<DeskServer>,
    routes: Router,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<dialogue::Result<()>>,
}

impl Running {
    async fn start(data: &Path, address: &str) -> Result<Running, Box<dyn Error>> {
        let opening = async {
            loop {
                match app::open(settings(data)).await {
                    // A task of the desk before is at its end.
                    Err(error) if error.to_string().contains("has it open") => sleep(PACE).await,
                    opened => break opened,
                }
            }
        };
        let (server, routes) = within(LIMIT, "the directory to be free", opening).await??;
        let listener = Server::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let (here, app) = (DeskServer::clone(&server), routes.clone());
        let until = async { _ = stopped.await };
        let serving = tokio::spawn(async move { here.serve_until(app, listener, until).await });
        Ok(Running { server, routes, address, stop, serving })
    }

    /// Drains and ends the desk, as SIGTERM does; yields where it was.
    async fn stop(self) -> Result<String, Box<dyn Error>> {
        let _ = self.stop.send(());
        within(LIMIT, "the end of a drain", self.serving).await???;
        Ok(self.address.to_string())
    }

    /// Asks over HTTP; yields the answer's status and JSON.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Value,
    ) -> Result<(StatusCode, Value), Box<dyn Error>> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.answer(request, body).await
    }

    /// Triggers an event over HTTP under a key, by which a repetition is known.
    async fn trigger(
        &self,
        path: &str,
        token: &str,
        key: &str,
        body: Value,
    ) -> Result<(StatusCode, Value), Box<dyn Error>> {
        let request = Request::post(path).header("idempotency-key", key);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.answer(request, body).await
    }

    async fn answer(&self, request: Builder, body: Value) -> Result<(StatusCode, Value), Box<dyn Error>> {
        let request =
            request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string()))?;
        let answer = within(LIMIT, "an answer over HTTP", self.routes.clone().oneshot(request)).await??;
        let status = answer.status();
        let bytes = answer.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    async fn sign_in(&self, name: &str, role: &str) -> Result<String, Box<dyn Error>> {
        let body = json!({ "name": name, "role": role });
        let (_, answer) = self.answer(Request::post("/api/sign-in"), body).await?;
        Ok(answer["token"].as_str().ok_or("no token")?.to_owned())
    }

    async fn open_ticket(&self, token: &str, title: &str) -> Result<u64, Box<dyn Error>> {
        let (status, answer) = self.ask("POST", "/api/tickets", token, json!({ "title": title })).await?;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        Ok(answer["ticket"].as_u64().ok_or("no number")?)
    }

    async fn connect(&self, token: &str) -> Result<DeskClient, client::Error> {
        DeskClient::connect(format!("ws://{}/api", self.address)).token(token).await
    }
}

fn settings(data: &Path) -> Settings {
    Settings {
        data: PathBuf::from(data),
        jwt_secret: b"a secret of the tests, 32 bytes and more".to_vec(),
        secret_prefixes: vec!["sk_live_".into()],
    }
}

fn message(text: &str) -> Message {
    Message { text: text.into() }
}

/// The next event of a ticket, with its sender.
async fn next(ticket: &mut TicketRoomClient) -> Result<(String, TicketRoomEvent), Box<dyn Error>> {
    let delivery = within(LIMIT, "an event", ticket.next()).await??.ok_or("the room ended")?;
    Ok((delivery.from, delivery.event))
}

async fn next_text(ticket: &mut TicketRoomClient) -> Result<String, Box<dyn Error>> {
    match next(ticket).await?.1 {
        TicketRoomEvent::Message(message) => Ok(message.text),
        _ => Err("another event than a message".into()),
    }
}

#[tokio::test]
async fn an_agent_and_a_customer_settle_a_ticket() -> Outcome {
    let data = tempfile::tempdir()?;
    let desk = Running::start(data.path(), "127.0.0.1:0").await?;
    let (ada, grace) = (desk.sign_in("ada", "customer").await?, desk.sign_in("grace", "agent").await?);
    let (customer, agent) = (desk.connect(&ada).await?, desk.connect(&grace).await?);
    let mut backlog = agent.backlog().join().await?;

    let number = desk.open_ticket(&ada, "no sound").await?;
    let opened = within(LIMIT, "the new ticket", backlog.next()).await??.ok_or("the backlog ended")?;
    let support::rooms::BacklogEvent::Opened(opened) = opened.event;
    assert_eq!((opened.ticket, opened.title.as_str()), (number, "no sound"));

    let (mut hers, mut agents) = (customer.ticket(number).join().await?, agent.ticket(number).join().await?);
    hers.send(message("my key is sk_live_123 , and I hear nothing")).await?;
    assert_eq!(next_text(&mut agents).await?, "my key is [redacted] , and I hear nothing");
    assert_eq!(next_text(&mut hers).await?, "my key is [redacted] , and I hear nothing");

    agents.send(Assigned { agent: "grace".into() }).await?;
    agents.send(Closed).await?;
    assert!(
        matches!(next(&mut hers).await?.1, TicketRoomEvent::Assigned(assigned) if assigned.agent == "grace")
    );
    assert!(matches!(next(&mut hers).await?, (from, TicketRoomEvent::Closed(_)) if from == "grace"));

    let refused = hers.send(message("one more thing")).await.expect_err("the ticket is closed");
    assert_eq!((refused.code(), refused.reason()), (Some(Code::Blocked), Some("ticket-closed")));
    let refused = agents.send(Assigned { agent: "linus".into() }).await.expect_err("the ticket is closed");
    assert_eq!((refused.code(), refused.reason()), (Some(Code::Blocked), Some("ticket-closed")));
    Ok(())
}

#[tokio::test]
async fn customers_stay_with_their_own_tickets_and_rights() -> Outcome {
    let data = tempfile::tempdir()?;
    let desk = Running::start(data.path(), "127.0.0.1:0").await?;
    let (ada, eve) = (desk.sign_in("ada", "customer").await?, desk.sign_in("eve", "customer").await?);
    let grace = desk.sign_in("grace", "agent").await?;
    let number = desk.open_ticket(&ada, "no sound").await?;
    let (owner, stranger, agent) =
        (desk.connect(&ada).await?, desk.connect(&eve).await?, desk.connect(&grace).await?);

    let refused = stranger.ticket(number).join().await.expect_err("another's ticket");
    assert_eq!((refused.code(), refused.reason()), (Some(Code::JoinDenied), Some("not-yours")));
    let refused = agent.ticket(99).join().await.expect_err("no such ticket");
    assert_eq!((refused.code(), refused.reason()), (Some(Code::JoinDenied), Some("no-such-ticket")));
    let refused = owner.backlog().join().await.expect_err("the backlog is for agents");
    assert_eq!(refused.code(), Some(Code::JoinDenied));

    let mut ticket = owner.ticket(number).join().await?;
    for refused in [ticket.send(Closed).await, ticket.send(Assigned { agent: "ada".into() }).await] {
        assert_eq!(refused.expect_err("agents only").code(), Some(Code::PermissionDenied));
    }
    ticket.send(message("still there?")).await?; // the refused events would have come before it
    assert_eq!(next_text(&mut ticket).await?, "still there?");

    let seen = |answer: (StatusCode, Value)| answer.1.as_array().map(Vec::len);
    assert_eq!(seen(desk.ask("GET", "/api/tickets", &ada, Value::Null).await?), Some(1));
    assert_eq!(seen(desk.ask("GET", "/api/tickets", &eve, Value::Null).await?), Some(0));
    assert_eq!(seen(desk.ask("GET", "/api/tickets", &grace, Value::Null).await?), Some(1));
    let (status, refusal) = desk.ask("GET", "/api/tickets", "forged", Value::Null).await?;
    assert_eq!((status, &refusal["code"]), (StatusCode::UNAUTHORIZED, &json!("UNAUTHENTICATED")));
    let history = format!("/api/rooms/ticket:{number}/history");
    assert_eq!(desk.ask("GET", &history, &eve, Value::Null).await?.0, StatusCode::FORBIDDEN);
    assert_eq!(
        desk.ask("GET", &history, &ada, Value::Null).await?.1["events"].as_array().map(Vec::len),
        Some(1)
    );
    let rooms = desk.ask("GET", "/api/rooms", &eve, Value::Null).await?;
    assert!(!rooms.1.to_string().contains("ticket:"), "{}", rooms.1);
    let (_, rooms) = desk.ask("GET", "/api/rooms", &grace, Value::Null).await?;
    let ids: Vec<_> =
        rooms["rooms"].as_array().ok_or("no rooms")?.iter().map(|room| room["roomId"].as_str()).collect();
    assert_eq!(ids, [Some("backlog"), Some(&*format!("ticket:{number}"))], "a refused join makes no room");
    Ok(())
}

#[tokio::test]
async fn a_restart_on_the_same_directory_and_port_loses_nothing() -> Outcome {
    let data = tempfile::tempdir()?;
    let desk = Running::start(data.path(), "127.0.0.1:0").await?;
    let (ada, grace) = (desk.sign_in("ada", "customer").await?, desk.sign_in("grace", "agent").await?);
    let (customer, agent) = (desk.connect(&ada).await?, desk.connect(&grace).await?);
    let number = desk.open_ticket(&ada, "no sound").await?;
    let (hers, mut agents) = (customer.ticket(number).join().await?, agent.ticket(number).join().await?);
    agents.send(Assigned { agent: "grace".into() }).await?;
    hers.send(message("before")).await?;
    let address = desk.stop().await?;

    // Nobody listens now. The client keeps what is sent until the desk is back.
    let sender = hers.sender();
    let away = tokio::spawn(async move { sender.send(message("while it was away")).await });

    let desk = Running::start(data.path(), &address).await?;
    assert_eq!(desk.address.to_string(), address);
    within(LIMIT, "the answer to what was sent meanwhile", away).await???;
    desk.server.ticket(number).trigger(message("after")).await?;

    assert!(matches!(next(&mut agents).await?.1, TicketRoomEvent::Assigned(_)));
    for text in ["before", "while it was away", "after"] {
        assert_eq!(next_text(&mut agents).await?, text);
    }
    let expected = json!([{
        "number": number, "title": "no sound", "customer": "ada", "assignee": "grace", "status": "assigned",
    }]);
    assert_eq!(desk.ask("GET", "/api/tickets", &ada, Value::Null).await?, (StatusCode::OK, expected));

    // A closed ticket is closed after the next restart too, and numbers go on.
    agents.send(Closed).await?;
    let address = desk.stop().await?;
    let desk = Running::start(data.path(), &address).await?;
    let refused =
        within(LIMIT, "a refusal", hers.send(message("hello?"))).await?.expect_err("the ticket is closed");
    assert_eq!(refused.reason(), Some("ticket-closed"));
    assert_eq!(desk.open_ticket(&ada, "no picture").await?, number + 1);
    Ok(())
}

#[tokio::test]
async fn a_ticket_that_is_closed_twice_under_one_key_is_closed_once() -> Outcome {
    let data = tempfile::tempdir()?;
    let desk = Running::start(data.path(), "127.0.0.1:0").await?;
    let (ada, grace) = (desk.sign_in("ada", "customer").await?, desk.sign_in("grace", "agent").await?);
    let room = format!("/api/rooms/ticket:{}", desk.open_ticket(&ada, "no sound").await?);
    let (said, closed) = (format!("{room}/events/message"), format!("{room}/events/closed"));

    assert_eq!(desk.trigger(&said, &ada, "one", json!({ "text": "hello" })).await?.0, StatusCode::OK);
    let (status, first) = desk.trigger(&closed, &grace, "two", Value::Null).await?;
    assert_eq!((status, &first["seq"]), (StatusCode::OK, &json!(2)));
    let (status, second) = desk.trigger(&closed, &grace, "two", Value::Null).await?;
    assert_eq!((status, &second["seq"]), (StatusCode::OK, &json!(2)));

    // Hooks see a repetition before the log does.
    let (_, late) = desk.trigger(&said, &ada, "one", json!({ "text": "hello" })).await?;
    assert_eq!(late["reason"], "ticket-closed");
    let history = desk.ask("GET", &format!("{room}/history"), &ada, Value::Null).await?;
    assert_eq!(history.1["events"].as_array().map(Vec::len), Some(2));
    Ok(())
}

#[tokio::test]
async fn the_desk_stands_beside_other_routes_and_below_layers() -> Outcome {
    let data = tempfile::tempdir()?;
    let desk = Running::start(data.path(), "127.0.0.1:0").await?;
    assert_eq!(
        desk.ask("GET", "/health", "", Value::Null).await?,
        (StatusCode::OK, json!({ "status": "ok" }))
    );
    assert_eq!(desk.ask("GET", "/", "", Value::Null).await?.1["websocket"], "/api/ws");

    let request = Request::get("/").header(header::ACCEPT_ENCODING, "gzip").body(Body::empty())?;
    let answer = desk.routes.clone().oneshot(request).await?;
    assert_eq!(
        answer.headers().get(header::CONTENT_ENCODING).map(|value| value.as_bytes()),
        Some(&b"gzip"[..])
    );

    let grace = desk.sign_in("grace", "agent").await?;
    let (status, refusal) = desk.ask("POST", "/api/tickets", &grace, json!({ "title": " " })).await?;
    assert_eq!(
        (status, &refusal["details"][0]["path"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/title"))
    );
    Ok(())
}
