//! Rooms that require an identity, and the middleware that gets it.

use dialogue::{
    Authenticator, Cx, Flow, Middleware, Next, Server,
    identity::{AuthError, Authenticated, Credentials, Provides},
    room::ServerRoom,
};
use serde_json::{Value, json};

use crate::harness::{Message, Result, Running, Socket, ask, is_refused, post};

/// What a token says: `name`, or `name@team`.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    team: Option<String>,
}

/// Somebody who is in a team.
#[derive(Debug)]
pub(crate) struct Player {
    team: String,
}

impl Provides<Player> for Claims {
    fn provide(&self) -> Option<Player> {
        self.team.clone().map(|team| Player { team })
    }
}

struct Tokens;

impl Authenticator for Tokens {
    type Identity = Claims;

    async fn authenticate(&self, shown: &Credentials<'_>) -> Result<Authenticated<Claims>, AuthError> {
        let token = shown.token().ok_or(AuthError::Rejected)?;
        let (name, team) = token.split_once('@').map_or((token, None), |(name, team)| (name, Some(team)));
        Ok(Authenticated::new(name, Claims { team: team.map(str::to_owned) }))
    }
}

dialogue::rooms! {
    struct Club;

    /// Open to who shows a token.
    #[room(identity = Claims)]
    hall: [Message] via [websocket] with [Named];

    /// For players.
    #[room(identity = Player)]
    field(u64): [Message] via [websocket, sse] with [Signed];

    street: [Message] via [websocket] with [Nameless];
}

/// Says for which team somebody speaks, in every room where that is known.
#[derive(Debug, Default)]
pub(crate) struct Signed;

impl<R: ServerRoom<Identity = Player>> Middleware<R, Message> for Signed {
    async fn handle(&self, cx: &Cx<R>, mut event: Message, next: impl Next<R, Message>) -> Flow {
        event
            .text
            .push_str(&cx.identity().map_or(" (server)".to_owned(), |player| format!(" ({})", player.team)));
        next.run(cx, event).await
    }
}

/// Says whether the identity is there that the authenticator told.
#[derive(Debug, Default)]
pub(crate) struct Named;

impl Middleware<Hall, Message> for Named {
    async fn handle(&self, cx: &Cx<Hall>, mut event: Message, next: impl Next<Hall, Message>) -> Flow {
        event.text.push_str(&format!(" ({:?})", cx.identity().map(|claims| &claims.team)));
        next.run(cx, event).await
    }
}

/// Nothing is known of anybody.
#[derive(Debug, Default)]
pub(crate) struct Nameless;

impl Middleware<Street, Message> for Nameless {
    async fn handle(&self, cx: &Cx<Street>, event: Message, next: impl Next<Street, Message>) -> Flow {
        assert!(cx.identity().is_none());
        next.run(cx, event).await
    }
}

const FOR_PLAYERS: &str = "room `field` is for a `Player` only";

async fn start() -> Result<Running<ClubServer>> {
    let server =
        Club::server().auth(Tokens).allow_anonymous().server_key("sixteen bytes or more").build().await?;
    let routes = Server::router(&server);
    Running::serve(server, routes).await
}

#[tokio::test]
async fn middleware_has_the_identity_that_its_room_requires() -> Result {
    let running = start().await?;
    let mut eve = Socket::open_as(running.address, "eve@reds").await?;
    for (room, text) in
        [("hall", r#"hello (Some(Some("reds")))"#), ("field:7", "hello (reds)"), ("street", "hello")]
    {
        eve.enter(room, Value::Null).await?;
        eve.say(room, "hello").await?;
        assert_eq!(eve.events(1).await?[0]["data"]["text"], text);
    }
    running.server.field(7).trigger(Message { text: "hush".to_owned() }).await?;
    assert_eq!(eve.events(1).await?[0]["data"]["text"], "hush (server)");
    running.stop().await
}

#[tokio::test]
async fn who_has_no_such_identity_stays_outside() -> Result {
    let running = start().await?;
    let mut anonymous = Socket::open(running.address).await?;
    let refused = anonymous.ask(json!({ "id": 1, "type": "join", "roomId": "hall" })).await?;
    assert!(is_refused(&refused, "JOIN_DENIED"), "{refused}");
    assert_eq!(refused["message"], "room `hall` is for a `Claims` only");
    for mut socket in [anonymous, Socket::open_as(running.address, "ada").await?] {
        let refused = socket.ask(json!({ "id": 1, "type": "join", "roomId": "field:7" })).await?;
        assert!(is_refused(&refused, "JOIN_DENIED") && refused["message"] == FOR_PLAYERS, "{refused}");
        socket.enter("street", Value::Null).await?;
        let rooms = socket.ask(json!({ "id": 1, "type": "listRooms" })).await?["rooms"].take();
        assert!(!rooms.to_string().contains("field"), "{rooms}");
    }
    running.stop().await
}

#[tokio::test]
async fn nor_does_http_let_them_in() -> Result {
    let running = start().await?;
    let (path, body) = ("/rooms/field:7/events/message", r#"{"text":"hello"}"#);
    for token in ["", "Authorization: Bearer ada\r\n"] {
        let (status, refused) = post(running.address, path, token, body).await?;
        assert!(status == 403 && refused["code"] == "JOIN_DENIED", "{refused}");
        assert_eq!(refused["message"], FOR_PLAYERS);
        for path in ["/rooms/field:7/history", "/events?room=field:7"] {
            let (head, body) = ask(running.address, "GET", path, token).await?;
            assert!(head.starts_with("HTTP/1.1 403") && body.contains(FOR_PLAYERS), "{head}\n{body}");
        }
    }
    for (token, text) in [("eve@reds", "hello (reds)"), ("sixteen bytes or more", "hello (server)")] {
        let token = format!("Authorization: Bearer {token}\r\n");
        let (status, ok) = post(running.address, path, &token, body).await?;
        assert_eq!(status, 200, "{ok}");
        let (_, history) = ask(running.address, "GET", "/rooms/field:7/history", &token).await?;
        assert!(history.contains(text), "{history}");
    }
    running.stop().await
}

#[tokio::test]
async fn a_newer_token_may_tell_of_less() -> Result {
    let running = start().await?;
    let mut eve = Socket::open_as(running.address, "eve@reds").await?;
    eve.enter("field:7", Value::Null).await?;
    let renewed = eve.ask(json!({ "id": 1, "type": "auth", "token": "eve" })).await?;
    assert_eq!(renewed["type"], "ok", "{renewed}");
    let trigger = json!({ "id": 1, "type": "trigger", "roomId": "field:7", "event": "message", "data": { "text": "hello" } });
    let refused = eve.ask(trigger).await?;
    assert_eq!(refused["code"], "NOT_IN_ROOM", "the newer token put her out: {refused}");
    let refused = eve.ask(json!({ "id": 2, "type": "join", "roomId": "field:7" })).await?;
    assert!(is_refused(&refused, "JOIN_DENIED"), "{refused}");
    running.stop().await
}
