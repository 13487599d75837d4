//! The application: its settings, what its parts share, and its routes.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
};

use axum::{
    Json, Router,
    routing::{get, post},
};
use dialogue::{Jwt, prelude::*, store::Disk};
use serde_json::{Value, json};
use tower_http::{
    compression::CompressionLayer,
    trace::{DefaultMakeSpan, DefaultOnResponse, TraceLayer},
};
use tracing::Level;

use crate::{
    access::Access,
    auth,
    rooms::{Desk, DeskServer, TicketRoom},
    tickets,
};

/// The settings of the desk.
#[derive(Clone)]
pub struct Settings {
    /// The directory of the disk store.
    pub data: PathBuf,
    /// The secret that signs tokens, of at least 32 bytes.
    pub jwt_secret: Vec<u8>,
    /// The prefixes of words that are kept out of tickets.
    pub secret_prefixes: Vec<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("data", &self.data).finish_non_exhaustive()
    }
}

/// The state that routes, hooks and middleware share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App {
    settings: Arc<Settings>,
    /// Filled once the server is built, which takes hooks and middleware that use it. Weak, since the server owns those:
    /// otherwise it would own itself, and its store would stay open after the last handle is gone.
    server: Arc<OnceLock<Weak<DeskServer>>>,
}

impl App {
    /// The server.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while it is being built, and after its end.
    pub fn server(&self) -> Result<Arc<DeskServer>, Refusal> {
        let server = self.server.get().and_then(Weak::upgrade);
        server.ok_or_else(|| Refusal::new(Code::Unavailable, "the desk is not open"))
    }

    /// The room of a ticket.
    ///
    /// # Errors
    ///
    /// As [`App::server`].
    pub fn ticket(&self, number: u64) -> Result<RoomHandle<TicketRoom>, Refusal> {
        Ok(self.server()?.ticket(number))
    }

    pub(crate) fn jwt_secret(&self) -> &[u8] {
        &self.settings.jwt_secret
    }

    pub(crate) fn secret_prefixes(&self) -> &[String] {
        &self.settings.secret_prefixes
    }
}

/// Opens the desk: the server, which the caller keeps for as long as the desk is open, and the routes to serve with it.
///
/// # Errors
///
/// The directory can't be opened, as while another process has it.
pub async fn open(settings: Settings) -> dialogue::Result<(Arc<DeskServer>, Router)> {
    let app = App { settings: Arc::new(settings), server: Arc::default() };
    let server = Desk::server()
        .state(app.clone())
        .auth(Jwt::hs256(app.jwt_secret()))
        .hooks(Access(app.clone()))
        .store(Disk::open(&app.settings.data)?)
        .build()
        .await?;
    let server = Arc::new(server);
    app.server.get_or_init(|| Arc::downgrade(&server));

    let api = Router::new()
        .route("/sign-in", post(auth::sign_in))
        .route("/tickets", get(tickets::list).post(tickets::open))
        .with_state(app)
        .merge(server.router());
    let health = {
        let server = DeskServer::clone(&server);
        move || async move { server.health() }
    };
    let routes = Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .nest("/api", api)
        .layer(CompressionLayer::new())
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(DefaultMakeSpan::new().level(Level::INFO))
                .on_response(DefaultOnResponse::new().level(Level::INFO)),
        );
    Ok((server, routes))
}

async fn index() -> Json<Value> {
    Json(json!({
        "health": "/health",
        "sign in": "POST /api/sign-in",
        "tickets": "/api/tickets",
        "rooms": "/api/rooms",
        "websocket": "/api/ws",
        "events": "/api/events",
    }))
}
