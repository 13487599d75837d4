//! Permissions: hooks that decide who joins and reads which ticket.

use dialogue::prelude::*;

use crate::{
    app::App,
    auth::Claims,
    rooms::Message,
    ticket::{Status, Ticket},
};

/// The desk's hooks: customers are let into their own tickets, agents into all, and a closed ticket takes no more messages.
#[derive(Debug)]
pub struct Access(pub App);

impl Hooks<Claims> for Access {
    async fn before_join(&self, who: &Caller<Claims>, room: &RoomRef<'_>) -> Result<(), Refusal> {
        let Some(ticket) = self.ticket(room).await? else { return Ok(()) };
        if may_see(who, &ticket) {
            Ok(())
        } else {
            Err(Refusal::join_denied("this is somebody else's ticket").with_reason("not-yours"))
        }
    }

    /// Refuses messages alone: `Closed` itself may be repeated, when its answer was lost on the way.
    async fn before_trigger(
        &self,
        _: &Caller<Claims>,
        room: &RoomRef<'_>,
        event: &str,
    ) -> Result<(), Refusal> {
        match self.ticket(room).await? {
            Some(ticket) if event == Message::NAME && ticket.status == Status::Closed => Err(closed()),
            _ => Ok(()),
        }
    }

    /// Decides at once, without the ticket's state; customers find their tickets at `/api/tickets`.
    fn sees(&self, who: &Caller<Claims>, _: &RoomRef<'_>) -> bool {
        who.has_role("agent")
    }
}

/// Returns whether the user may read and write in a ticket.
pub fn may_see(who: &Caller<Claims>, ticket: &Ticket) -> bool {
    who.has_role("agent") || who.user_id() == ticket.customer
}

/// Returns the refusal of what a closed ticket no longer takes.
pub(crate) fn closed() -> Refusal {
    Refusal::blocked("this ticket is closed; open a new one").with_reason("ticket-closed")
}

impl Access {
    /// Returns the ticket whose room this is; `None` for the backlog.
    async fn ticket(&self, room: &RoomRef<'_>) -> Result<Option<Ticket>, Refusal> {
        let Some(number) = room.key().and_then(|key| key.parse().ok()) else { return Ok(None) };
        let saved = self.0.ticket(number)?.state().await?;
        match saved.version {
            0 => Err(Refusal::join_denied("there is no such ticket").with_reason("no-such-ticket")),
            _ => Ok(Some(saved.state)),
        }
    }
}
