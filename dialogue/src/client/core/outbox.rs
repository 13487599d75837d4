//! The requests that wait for the server's response.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::client::frame::Request;

/// Names a caller that waits; the driver knows whom.
pub(crate) type Ticket = u64;

/// A request from the moment it is asked to the one answer it gets.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) ticket: Ticket,
    pub(crate) room: Option<Arc<str>>,
    pub(crate) request: Request,
    /// The frame, the same in every attempt.
    pub(crate) text: String,
    pub(crate) id: u64,
    pub(crate) class: Class,
    pub(crate) deadline: Duration,
    pub(crate) state: State,
}

/// The effect of a lost connection on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Has a key, so that another attempt is harmless.
    Durable,
    /// Worth nothing later.
    Ephemeral,
    /// Asks and changes nothing that a second time would change.
    Idempotent,
    /// Means something on this connection alone: without it, it is done.
    Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// To be sent as soon as the room is joined.
    Waiting,
    /// Sent on the connection that is open now.
    Sent,
    /// The server asked to come again then.
    NotBefore(Duration),
}

/// All of them, in the order of asking.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pending: VecDeque<Pending>,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn push(&mut self, pending: Pending) {
        self.pending.push_back(pending);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.pending.iter()
    }

    /// Takes out what `id` answers. A second answer finds nothing.
    pub(crate) fn take(&mut self, id: u64) -> Option<Pending> {
        let index =
            self.pending.iter().position(|pending| pending.id == id && pending.state == State::Sent)?;
        self.pending.remove(index)
    }

    /// Holds `id` back until `at`.
    pub(crate) fn hold(&mut self, id: u64, at: Duration) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.id == id) {
            pending.state = State::NotBefore(at);
        }
    }

    pub(crate) fn find(&self, id: u64) -> Option<&Pending> {
        self.pending.iter().find(|pending| pending.id == id)
    }

    /// Takes out all that `which` picks, in order.
    pub(crate) fn take_if(&mut self, which: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let (taken, kept) = std::mem::take(&mut self.pending).into_iter().partition(|p| which(p));
        self.pending = kept;
        Vec::from_iter::<VecDeque<_>>(taken)
    }

    /// The connection is gone: whatever was sent is to be sent again.
    pub(crate) fn unsend(&mut self) {
        for pending in &mut self.pending {
            if pending.state == State::Sent {
                pending.state = State::Waiting;
            }
        }
    }

    /// The frames that may go now, in order. A trigger that is held back holds those after it in its room: a room's
    /// events keep the order in which they were asked for.
    pub(crate) fn ready(
        &mut self,
        now: Duration,
        may: impl Fn(&Option<Arc<str>>) -> bool,
    ) -> impl Iterator<Item = &str> {
        let mut held: Vec<Arc<str>> = Vec::new();
        self.pending.iter_mut().filter_map(move |pending| {
            let trigger = matches!(pending.class, Class::Durable | Class::Ephemeral);
            match pending.state {
                State::Sent => return None,
                State::NotBefore(at) if now < at => {
                    held.extend(pending.room.clone().filter(|_| trigger));
                    return None;
                }
                _ => {}
            }
            let blocked = trigger && pending.room.as_ref().is_some_and(|room| held.contains(room));
            if blocked || !may(&pending.room) {
                return None;
            }
            pending.state = State::Sent;
            Some(pending.text.as_str())
        })
    }
}
