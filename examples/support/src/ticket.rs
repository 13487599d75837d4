//! The state of a ticket, beside its conversation.

use dialogue::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    access::closed,
    app::App,
    rooms::{Assigned, Closed, TicketRoom},
};

/// The state of a ticket's room.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// The subject.
    pub title: String,
    /// The user id of the customer whose ticket it is.
    pub customer: String,
    /// The user id of the agent who takes care of it.
    #[serde(default)]
    pub assignee: Option<String>,
    /// How far it is.
    #[serde(default)]
    pub status: Status,
}

/// How far a ticket is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nobody has looked at it yet.
    #[default]
    New,
    /// An agent takes care of it.
    Assigned,
    /// It takes no more messages.
    Closed,
}

/// The state of the backlog: the number of the newest ticket.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Numbers {
    /// The newest ticket's number; 0 before the first.
    pub last: u64,
}

/// Middleware that carries what an event says over into the ticket's state.
///
/// The state is changed before the event is appended. Should the append fail, the client repeats the event, and the same
/// change is made again.
#[derive(Debug)]
pub struct Progress(App);

impl FromState<App> for Progress {
    fn from_state(app: &App) -> Self {
        Progress(app.clone())
    }
}

impl Middleware<TicketRoom, Assigned> for Progress {
    async fn handle(
        &self,
        cx: &Cx<TicketRoom>,
        event: Assigned,
        next: impl Next<TicketRoom, Assigned>,
    ) -> Flow {
        let agent = event.agent.clone();
        let assign = move |ticket: &mut Ticket| {
            let open = ticket.status != Status::Closed;
            if open {
                ticket.assignee = Some(agent);
                ticket.status = Status::Assigned;
            }
            open
        };
        if !self.0.ticket(*cx.key())?.update(assign).await? {
            return Err(closed());
        }
        next.run(cx, event).await
    }
}

impl Middleware<TicketRoom, Closed> for Progress {
    async fn handle(&self, cx: &Cx<TicketRoom>, event: Closed, next: impl Next<TicketRoom, Closed>) -> Flow {
        self.0.ticket(*cx.key())?.update(|ticket| ticket.status = Status::Closed).await?;
        next.run(cx, event).await
    }
}
