//! An application that knows its users, and writes a diary of what it is told.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use dialogue::{
    Authenticator, Caller, Code, Hooks, Refusal, RoomRef, Server,
    identity::{AuthError, Authenticated, Credentials},
    server::ServerBuilder,
    wire::Accepted,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

use crate::harness::{HOUR, Message, Result, Running, Socket, Stream, connect, soon};

dialogue::rooms! {
    pub(crate) struct Club;

    chat: [Message] via [websocket, sse];

    #[room(capacity = 1, sync = 5)]
    small: [Message] via [websocket, sse];

    #[room(role = "member")]
    members: [Message] via [websocket, sse];

    /// The hooks ask for the role `keeper`.
    vault: [Message] via [websocket, sse];

    #[room(presence = 300ms)]
    lobby: [Message] via [websocket, sse];

    /// Where a reload may take a second.
    #[room(presence = 1s)]
    foyer: [Message] via [websocket, sse];

    project(u64): [Message] via [websocket, sse];
}

/// What is known of who showed a token.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
}

/// Takes tokens of the form `USER/ROLES/MILLISECONDS/SECRET`; nothing else is valid.
#[derive(Debug)]
pub(crate) struct Porter;

impl Authenticator for Porter {
    type Identity = Member;

    async fn authenticate(&self, shown: &Credentials<'_>) -> Result<Authenticated<Member>, AuthError> {
        assert_ne!(shown.token(), Some("fuse"), "what an authenticator may do, and shouldn't");
        let parts: Vec<_> = shown.token().unwrap_or_default().split('/').collect();
        let [user, roles, lifetime, "secret"] = parts[..] else { return Err(AuthError::Rejected) };
        let member = Member { name: user.to_uppercase() };
        let mut told = Authenticated::new(user, member);
        told.roles = roles.split(',').map(str::to_owned).collect();
        if let Ok(lifetime) = lifetime.parse() {
            told.expires = Some(SystemTime::now() + Duration::from_millis(lifetime));
        }
        Ok(told)
    }
}

/// The token of a user without roles, for ever.
pub(crate) fn token(user: &str) -> String {
    format!("{user}///secret")
}

/// Writes down each call. Users are treated by their names: `banned` may not connect, `fuse-HOOK` has that hook panic,
/// `slow` takes
/// a while to be seen off, `pensive` to be let in, `guest` may create no room, and `patient` is never answered.
#[derive(Debug, Clone)]
pub(crate) struct Diary(Arc<watch::Sender<Vec<String>>>);

impl Diary {
    fn write(&self, hook: &str, user: &str, rest: impl std::fmt::Display) {
        let line = format!("{hook} {user} {rest}");
        self.0.send_modify(|lines| lines.push(line.trim_end().to_owned()));
        assert!(user.strip_prefix("fuse-") != Some(hook), "what a hook may do, and shouldn't");
    }

    /// What was written of a user so far.
    pub(crate) fn of(&self, user: &str) -> Vec<String> {
        concerning(&self.0.borrow(), user)
    }

    /// How often a hook was called.
    pub(crate) fn count(&self, hook: &str) -> usize {
        self.0.borrow().iter().filter(|line| line.split(' ').next() == Some(hook)).count()
    }

    /// Waits until as much was written of a user, and checks that it was that: lines without the name.
    pub(crate) async fn says(&self, user: &str, expected: &[&str]) -> Result {
        let mut written = self.0.subscribe();
        let enough = written.wait_for(|lines| concerning(lines, user).len() >= expected.len());
        let came = soon("the diary", enough).await.map(drop);
        assert_eq!(self.of(user), expected, "of {user}: {came:?}");
        Ok(())
    }
}

/// The lines about a user, without the name.
fn concerning(lines: &[String], user: &str) -> Vec<String> {
    let own = lines.iter().filter(|line| line.split(' ').nth(1) == Some(user));
    own.map(|line| line.replacen(&format!(" {user}"), "", 1)).collect()
}

fn name(visitor: &Caller<Member>) -> &str {
    // The identity is the one that the authenticator told of.
    if let Some(member) = visitor.identity() {
        assert_eq!(member.name, visitor.user_id().to_uppercase());
    }
    visitor.user_id()
}

impl Hooks<Member> for Diary {
    async fn connect(&self, who: &Caller<Member>) -> Result<(), Refusal> {
        self.write("connect", name(who), "");
        if who.user_id() == "patient" {
            std::future::pending::<()>().await;
        }
        if who.user_id() == "banned" { Err(Refusal::blocked("not you again")) } else { Ok(()) }
    }

    async fn disconnect(&self, who: &Caller<Member>, reason: &str) {
        if who.user_id() == "slow" {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        self.write("disconnect", name(who), reason);
    }

    async fn before_join(&self, who: &Caller<Member>, room: &RoomRef<'_>) -> Result<(), Refusal> {
        self.write("before_join", name(who), room.id());
        match room.name() {
            "vault" if !who.has_role("keeper") => Err(Refusal::join_denied("only keepers may enter")),
            _ => Ok(()),
        }
    }

    async fn before_create(&self, who: &Caller<Member>, _: &RoomRef<'_>) -> Result<(), Refusal> {
        match who.user_id() {
            "guest" => Err(Refusal::new(Code::PermissionDenied, "guests open no rooms")),
            _ => Ok(()),
        }
    }

    async fn joined(&self, who: &Caller<Member>, room: &RoomRef<'_>) {
        if who.user_id() == "pensive" {
            // Thinks about it until somebody speaks.
            let spoken = |lines: &Vec<String>| lines.iter().any(|line| line.starts_with("before_trigger"));
            let _ = self.0.subscribe().wait_for(spoken).await;
        }
        self.write("joined", name(who), room.id());
    }

    async fn left(&self, who: &Caller<Member>, room: &RoomRef<'_>, reason: &str) {
        self.write("left", name(who), format_args!("{}: {reason}", room.id()));
    }

    async fn room_created(&self, room: &RoomRef<'_>, by: Option<&str>) {
        self.write("room_created", by.unwrap_or("nobody"), format_args!("{} {:?}", room.id(), room.key()));
    }

    async fn room_deleted(&self, room: &RoomRef<'_>) {
        self.write("room_deleted", room.id(), "");
    }

    async fn before_trigger(
        &self,
        who: &Caller<Member>,
        room: &RoomRef<'_>,
        event: &str,
    ) -> Result<(), Refusal> {
        self.write("before_trigger", name(who), format_args!("{} {event}", room.id()));
        if who.user_id() == "mute" { Err(Refusal::blocked("not a word")) } else { Ok(()) }
    }

    async fn after_trigger(
        &self,
        who: &Caller<Member>,
        room: &RoomRef<'_>,
        event: &str,
        accepted: &Accepted,
        recipients: usize,
    ) {
        let seq = accepted.seq.unwrap_or_default();
        self.write("after_trigger", name(who), format_args!("{} {event} {seq} to {recipients}", room.id()));
    }
}

/// The club, open.
pub(crate) struct House {
    pub(crate) running: Running<ClubServer>,
    pub(crate) diary: Diary,
}

type Builder = ServerBuilder<Club, Member>;

impl House {
    pub(crate) async fn open() -> Result<Self> {
        Self::with(|server| server).await
    }

    pub(crate) async fn with(configure: fn(Builder) -> Builder) -> Result<Self> {
        let diary = Diary(Arc::new(watch::Sender::default()));
        let server = Club::server().auth(Porter).hooks(diary.clone()).keep_alive(HOUR, HOUR);
        let server = configure(server).build().await?;
        let routes = Server::router(&server);
        Ok(House { running: Running::serve(server, routes).await?, diary })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// Opens a socket by a token in a header.
    pub(crate) async fn knock(&self, token: &str) -> Result<Socket> {
        knock(self.address(), token).await
    }

    /// A user's socket, greeted.
    pub(crate) async fn socket(&self, user: &str) -> Result<Socket> {
        let mut socket = self.knock(&token(user)).await?;
        match socket.next().await? {
            greeting if greeting["type"] == "connected" && greeting["userId"] == user => Ok(socket),
            other => Err(format!("the first frame is {other}").into()),
        }
    }

    /// A user's socket in a room.
    pub(crate) async fn member(&self, user: &str, room: &str) -> Result<Socket> {
        let mut socket = self.socket(user).await?;
        match socket.enter(room, Value::Null).await? {
            joined if joined["type"] == "joined" => Ok(socket),
            other => Err(format!("{user} is not let in: {other}").into()),
        }
    }

    /// A user's stream of a room.
    pub(crate) async fn stream(&self, user: &str, room: &str) -> Result<Stream> {
        let path = format!("/events?room={room}");
        Stream::with(connect(self.address()).await?, &path, "", &bearer(&token(user))).await
    }

    /// Asks over HTTP, as a user.
    pub(crate) async fn get(&self, user: &str, path: &str) -> Result<(u16, Value)> {
        get(self.address(), path, &bearer(&token(user))).await
    }

    /// Triggers a message over HTTP, as a user.
    pub(crate) async fn post(&self, user: &str, room: &str, text: &str) -> Result<(u16, Value)> {
        let body = serde_json::json!({ "text": text }).to_string();
        crate::harness::post(
            self.address(),
            &format!("/rooms/{room}/events/message"),
            &bearer(&token(user)),
            &body,
        )
        .await
    }
}

pub(crate) async fn knock(address: SocketAddr, token: &str) -> Result<Socket> {
    Socket::knock(connect(address).await?, "/ws", ("authorization", &format!("Bearer {token}"))).await
}

/// The header that shows a token, with its line's end.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Asks over HTTP; yields the status and the body.
pub(crate) async fn get(address: SocketAddr, path: &str, headers: &str) -> Result<(u16, Value)> {
    let mut wire: TcpStream = connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    wire.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    soon("an answer", wire.read_to_string(&mut text)).await??;
    let status = text.split(' ').nth(1).ok_or("no status line")?.parse()?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}
