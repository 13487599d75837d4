//! A lobby of tables: `cargo run -p rooms`, then sign in twice, in two windows. Who opens a table may close it, and
//! ask others to leave.

mod bans;
mod page;
mod tokens;

use std::{fmt, num::ParseIntError, str::FromStr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, request::Parts},
    routing::post,
};
use dialogue::{Caller, Code, Hooks, Refusal, RoomRef};
use serde::{Deserialize, Serialize};

use bans::Bans;
use tokens::Tokens;

/// The identity of a user beside its id and roles, as hooks and routes see it.
#[derive(Debug, Clone)]
struct Member {
    name: String,
}

/// Said at a table.
#[dialogue::event]
struct Said {
    #[validate(length(min = 1, max = 500))]
    text: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct TableId(u32);

dialogue::rooms! {
    /// One table of the lobby, for as long as whoever opened it wants.
    #[room(name = "Table", capacity = 12, presence, sync = 50, retain(events = 200))]
    table(TableId): [Said] via [websocket];
}

#[tokio::main]
async fn main() -> dialogue::Result<()> {
    let (tokens, bans) = (Arc::new(Tokens::from_env()), Arc::new(Bans::default()));
    let server = Rooms::server()
        .auth(Arc::clone(&tokens))
        .hooks(Doorkeeper { bans: Arc::clone(&bans) })
        .build()
        .await?;
    let app = Router::new()
        .route("/sign-in", post(sign_in))
        .route("/renew", post(renew))
        .route("/tables/{id}/kick", post(kick))
        .with_state(Lobby { server: server.clone(), tokens, bans })
        .merge(page::routes())
        .merge(server.router());

    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listening = server.listen(address).await?;
    println!("listening on http://{}", listening.local_addr());
    listening.serve(app).await
}

/// What the routes share.
#[derive(Clone)]
struct Lobby {
    server: RoomsServer,
    tokens: Arc<Tokens>,
    bans: Arc<Bans>,
}

/// Tells the terminal who comes and goes, and keeps out of a table who was asked to leave.
struct Doorkeeper {
    bans: Arc<Bans>,
}

impl Hooks<Member> for Doorkeeper {
    async fn connect(&self, who: &Caller<Member>) -> Result<(), Refusal> {
        eprintln!("{} came", who.user_id());
        Ok(())
    }

    async fn disconnect(&self, who: &Caller<Member>, reason: &str) {
        eprintln!("{} went: {reason}", who.user_id());
    }

    async fn before_join(&self, who: &Caller<Member>, room: &RoomRef<'_>) -> Result<(), Refusal> {
        match self.bans.left(room.id(), who.user_id()) {
            Some(left) => {
                let seconds = left.as_secs() + 1;
                Err(Refusal::join_denied(format!(
                    "you were asked to leave; you may come back in {seconds} s"
                )))
            }
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct SignIn {
    name: String,
    role: Option<String>,
}

#[derive(Serialize)]
struct SignedIn {
    token: String,
}

/// Takes everybody at their word: an application asks for a password here, or leaves it all to an identity provider.
async fn sign_in(
    State(lobby): State<Lobby>,
    Json(SignIn { name, role }): Json<SignIn>,
) -> Result<Json<SignedIn>, Refusal> {
    let name = name.trim().to_owned();
    if name.is_empty() || name.chars().count() > 24 || name.chars().any(char::is_control) {
        return Err(Refusal::new(Code::ValidationFailed, "a name has 1 to 24 characters"));
    }
    // All that other members learn of a user is the id; two who are called the same are still two.
    let user_id = format!("{name}~{:08x}", u32::from_ne_bytes(tokens::random()));
    let roles: Vec<_> = role.into_iter().filter(|role| role == MODERATOR).collect();
    Ok(Json(SignedIn { token: lobby.tokens.sign(&user_id, &Member { name }, &roles) }))
}

/// A newer token for whoever shows one that is still good.
async fn renew(State(lobby): State<Lobby>, request: Parts) -> Result<Json<SignedIn>, Refusal> {
    let caller = lobby.server.visitor::<Member>(&request).await?;
    let member = caller.identity().ok_or_else(unknown)?;
    let roles: Vec<_> = caller.has_role(MODERATOR).then(|| MODERATOR.to_owned()).into_iter().collect();
    Ok(Json(SignedIn { token: lobby.tokens.sign(caller.user_id(), member, &roles) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kick {
    user_id: String,
}

/// Puts somebody out of a table, and keeps them out for a minute.
async fn kick(
    State(lobby): State<Lobby>,
    Path(id): Path<TableId>,
    request: Parts,
    Json(Kick { user_id }): Json<Kick>,
) -> Result<StatusCode, Refusal> {
    let caller = lobby.server.visitor::<Member>(&request).await?;
    let member = caller.identity().ok_or_else(unknown)?;
    let table = lobby.server.table(id);
    let opened_by = table.describe().await?.and_then(|table| table.created_by);
    if opened_by.as_deref() != Some(caller.user_id()) && !caller.has_role(MODERATOR) {
        return Err(Refusal::new(
            Code::PermissionDenied,
            "only who opened a table, or a moderator, may do that",
        ));
    }
    let user = lobby.server.users().get(user_id);
    if !user.is_in(&table).await? {
        return Err(Refusal::new(Code::NotInRoom, "they are not at this table"));
    }
    // Before they are out, so that they are not back at once.
    lobby.bans.add(table.id(), user.id());
    user.remove_from(&table, &format!("{} asked you to leave", member.name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The role that may ask anybody to leave any table.
const MODERATOR: &str = "moderator";

fn unknown() -> Refusal {
    Refusal::new(Code::Unauthenticated, "sign in first")
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TableId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(TableId)
    }
}
