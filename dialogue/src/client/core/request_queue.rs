//! The queue of requests without a response, owned by the core. Requests survive reconnects and are sent again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::client::request::Request;

/// Identifies the caller of a request; the driver maps it to a reply channel.
pub(crate) type Ticket = u64;

/// A request from its submission to its response.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) ticket: Ticket,
    pub(crate) room: Option<Arc<str>>,
    pub(crate) request: Request,
    /// The frame's text, identical in every attempt, so that a repeated key is recognised by the server.
    pub(crate) text: String,
    pub(crate) id: u64,
    pub(crate) class: RetryClass,
    pub(crate) deadline: Duration,
    pub(crate) state: RequestState,
}

/// The effect of a lost connection on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryClass {
    /// Retried: its idempotency key makes a repeated attempt harmless.
    Durable,
    /// Failed: an ephemeral event is not sent late.
    Ephemeral,
    /// Retried: a repetition has no further effect.
    Idempotent,
    /// Resolved as done: it concerns this connection only.
    Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestState {
    /// Sent as soon as the room is joined.
    Waiting,
    /// Sent on the current connection.
    Sent,
    /// Refused for now, and sent again at this time.
    NotBefore(Duration),
}

/// The requests without a response, in the order of submission.
#[derive(Debug, Default)]
pub(crate) struct RequestQueue {
    pending: VecDeque<Pending>,
}

impl RequestQueue {
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn push(&mut self, pending: Pending) {
        self.pending.push_back(pending);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.pending.iter()
    }

    /// Removes and returns the sent request `id`; `None` for a duplicate response.
    pub(crate) fn take(&mut self, id: u64) -> Option<Pending> {
        let index = self
            .pending
            .iter()
            .position(|pending| pending.id == id && pending.state == RequestState::Sent)?;
        self.pending.remove(index)
    }

    /// Delays the request `id` until `at`.
    pub(crate) fn hold(&mut self, id: u64, at: Duration) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.id == id) {
            pending.state = RequestState::NotBefore(at);
        }
    }

    pub(crate) fn find(&self, id: u64) -> Option<&Pending> {
        self.pending.iter().find(|pending| pending.id == id)
    }

    /// Removes and returns the requests that match, in order.
    pub(crate) fn take_if(&mut self, predicate: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let (taken, kept) = std::mem::take(&mut self.pending).into_iter().partition(|p| predicate(p));
        self.pending = kept;
        Vec::from_iter::<VecDeque<_>>(taken)
    }

    /// Marks every sent request as unsent, after the connection was lost.
    pub(crate) fn requeue_sent(&mut self) {
        for pending in &mut self.pending {
            if pending.state == RequestState::Sent {
                pending.state = RequestState::Waiting;
            }
        }
    }

    /// Returns the frames that can be sent now, in order, and marks them as sent. A delayed trigger delays the later
    /// ones of its room, so that a room's events keep the order of submission.
    pub(crate) fn ready(
        &mut self,
        now: Duration,
        is_sendable: impl Fn(&Option<Arc<str>>) -> bool,
    ) -> impl Iterator<Item = &str> {
        let mut held: Vec<Arc<str>> = Vec::new();
        self.pending.iter_mut().filter_map(move |pending| {
            let trigger = matches!(pending.class, RetryClass::Durable | RetryClass::Ephemeral);
            match pending.state {
                RequestState::Sent => return None,
                RequestState::NotBefore(at) if now < at => {
                    held.extend(pending.room.clone().filter(|_| trigger));
                    return None;
                }
                _ => {}
            }
            let blocked = trigger && pending.room.as_ref().is_some_and(|room| held.contains(room));
            if blocked || !is_sendable(&pending.room) {
                return None;
            }
            pending.state = RequestState::Sent;
            Some(pending.text.as_str())
        })
    }
}
