//! Tickets over HTTP: opening one, and the list.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, request::Parts},
};
use dialogue::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{access::may_see, app::App, auth::Claims, rooms::Opened, ticket::Ticket};

/// Tickets that a list has at most.
const LISTED: u64 = 100;

/// The body of `POST /api/tickets`.
#[derive(Debug, Deserialize)]
pub struct Open {
    title: String,
}

/// The answer to it.
#[derive(Debug, Serialize)]
pub struct Number {
    ticket: u64,
}

/// A row of `GET /api/tickets`.
#[derive(Debug, Serialize)]
pub struct Row {
    number: u64,
    #[serde(flatten)]
    ticket: Ticket,
}

/// Opens a ticket, and tells the agents.
pub async fn open(
    State(app): State<App>,
    request: Parts,
    Json(Open { title }): Json<Open>,
) -> Result<(StatusCode, Json<Number>), Refusal> {
    let server = app.server()?;
    let customer = server.visitor::<Claims>(&request).await?.user_id().to_owned();
    if title.trim().is_empty() {
        return Err(Refusal::invalid("a ticket needs a title").with_detail("/title", "is empty"));
    }
    let ticket = server
        .backlog()
        .update(|numbers| {
            numbers.last += 1;
            numbers.last
        })
        .await?;
    let room = server.ticket(ticket);
    // On purpose, for an instance that a mere join made may be dropped once there are too many.
    room.create(NewRoom::new().name(&title)).await?;
    let new = Ticket { title: title.clone(), customer, ..Ticket::default() };
    room.update(move |state| *state = new).await?;
    server.backlog().trigger(Opened { ticket, title }).await?;
    Ok((StatusCode::CREATED, Json(Number { ticket })))
}

/// Lists the newest tickets that the caller may see, newest first.
pub async fn list(State(app): State<App>, request: Parts) -> Result<Json<Vec<Row>>, Refusal> {
    let server = app.server()?;
    let who = server.visitor::<Claims>(&request).await?;
    let last = server.backlog().state().await?.state.last;
    let mut rows = Vec::new();
    for number in (last.saturating_sub(LISTED) + 1..=last).rev() {
        let saved = server.ticket(number).state().await?;
        if saved.version > 0 && may_see(&who, &saved.state) {
            rows.push(Row { number, ticket: saved.state });
        }
    }
    Ok(Json(rows))
}
