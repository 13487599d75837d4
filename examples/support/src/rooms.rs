//! The events and the rooms.

use dialogue::middleware::RequireRole;

use crate::{
    redact::Redact,
    ticket::{Numbers, Progress, Ticket},
};

/// Something that a customer or an agent says.
#[dialogue::event]
#[derive(Debug, PartialEq)]
pub struct Message {
    /// The text.
    #[validate(length(min = 1, max = 4_000))]
    pub text: String,
}

/// An agent takes care of the ticket.
#[dialogue::event]
#[derive(Debug, PartialEq)]
pub struct Assigned {
    /// The agent's user id.
    #[validate(length(min = 1, max = 128))]
    pub agent: String,
}

/// The ticket is settled.
#[dialogue::event]
#[derive(Debug, PartialEq)]
pub struct Closed;

/// A customer opened a ticket.
#[dialogue::event(from = server)]
#[derive(Debug, PartialEq)]
pub struct Opened {
    /// The ticket's number.
    pub ticket: u64,
    /// The subject.
    pub title: String,
}

dialogue::rooms! {
    /// The rooms of the support desk.
    pub struct Desk;

    /// New tickets, for agents.
    #[room(role = "agent", state = Numbers, sync = 50)]
    backlog: [Opened] via [websocket, sse];

    /// The conversation about one ticket. `as`, since `Ticket` is the name of its state.
    #[room(state = Ticket, retain(events = 10_000, age = 365d), sync = 50, presence)]
    ticket(u64) as TicketRoom: [
        Message with [Redact],
        Assigned with [RequireRole::new("agent"), Progress],
        Closed with [RequireRole::new("agent"), Progress],
    ] via [websocket, sse];
}
