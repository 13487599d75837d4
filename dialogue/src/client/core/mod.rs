//! The protocol without a socket: frames in, frames out, time as a value.
//!
//! [`Core`] knows nothing of tasks, sockets or clocks. Whoever drives it tells it what happened and when
//! ([`text`](Core::text), [`lost`](Core::lost), [`tick`](Core::tick)), does what
//! [`poll`](Core::poll) says, and calls `tick` at [`timeout`](Core::timeout). So a whole life of reconnects runs in a
//! unit test, and a browser's WebSocket can drive it as well as tokio's.

mod backoff;
mod inbox;
mod membership;
#[cfg(test)]
mod model;
mod outbox;
mod receive;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

pub(crate) use backoff::Backoff;
pub(crate) use inbox::{Inbox, Item};
pub(crate) use membership::{Membership, Verdict};
pub(crate) use outbox::{Class, Ticket};
use outbox::{Outbox, Pending, State};

use super::{
    error::{Error, ErrorKind},
    frame::{Arrival, Request},
    incoming::{Interruption, Joined},
    status::{Identity, Status},
};
use crate::wire::{Accepted, Code, Position, Refusal};

/// A connection that held so long starts the backoff over.
const STABLE: Duration = Duration::from_secs(5);
/// After a rejected token the next one is asked for, so often in a row.
const TOKENS: u32 = 3;

/// What a client is told beforehand.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// At most so many requests wait for their answer.
    pub(crate) pending: usize,
    /// How long a request may wait for its answer.
    pub(crate) deadline: Duration,
    pub(crate) backoff: (Duration, Duration),
    /// A connection, from the first packet to `connected`, may take so long.
    pub(crate) opening: Duration,
    /// After so long without a frame, a ping.
    pub(crate) idle: Duration,
    /// After a ping without an answer for so long, the connection is dead.
    pub(crate) patience: Duration,
    /// Whether the first attempt decides.
    pub(crate) eager: bool,
    pub(crate) token: TokenSource,
    pub(crate) seed: u64,
}

/// Where tokens come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// Nowhere: an anonymous client.
    None,
    /// It is always the same.
    Fixed,
    /// It can be asked for again.
    Renewable,
}

/// What the driver has to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Open a connection.
    Open,
    /// Drop the connection that is open or being opened.
    Shut,
    /// Send a text frame.
    Transmit(String),
    /// Send a ping.
    Ping,
    /// Answer the caller.
    Resolve(Ticket, Result<Reply, Error>),
    /// Tell whoever watches.
    Status(Status),
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    Accepted(Accepted),
    Joined(Joined),
    History { events: Vec<Arrival>, more: bool },
    Members(super::frame::MembersFrame),
}

/// How a connection ended, or didn't begin.
#[derive(Debug)]
pub(crate) enum Loss {
    /// A close frame, or the end of the stream.
    Closed(Option<u16>),
    /// The handshake got an HTTP status instead.
    Answered { status: u16, refusal: Option<Refusal> },
    /// Anything else.
    Failed(Error),
}

/// A room to join.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) room: Arc<str>,
    pub(crate) events: Option<BTreeSet<String>>,
    /// What `events` is when it is not given.
    pub(crate) default: BTreeSet<String>,
    pub(crate) since: Option<Position>,
    pub(crate) inbox: Arc<Inbox>,
}

/// The state machine of one client.
#[derive(Debug)]
pub(crate) struct Core {
    config: Config,
    rng: fastrand::Rng,
    backoff: Backoff,
    link: Link,
    rooms: BTreeMap<Arc<str>, Entry>,
    outbox: Outbox,
    next_id: u64,
    anonymous: Option<Arc<str>>,
    rejected: u32,
    was_online: bool,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum Link {
    /// Nothing has asked for a connection yet.
    Idle,
    /// Until the next attempt.
    Waiting(Duration),
    /// Until it takes too long.
    Opening(Duration),
    Online {
        since: Duration,
        heard: Duration,
        pinged: Option<Duration>,
        /// The server asked to go elsewhere then.
        move_at: Option<Duration>,
    },
    Stopped(Error),
}

#[derive(Debug)]
struct Entry {
    membership: Membership,
    events: Option<BTreeSet<String>>,
    default: BTreeSet<String>,
    /// Whoever waits for the first join, and until when.
    first: Option<(Ticket, Duration)>,
    /// Whether this connection is in the room: it may send there.
    member: bool,
    step: Step,
    retries: Backoff,
    /// Since when re-joining has been refused in a way that may pass.
    refused: Option<Duration>,
}

#[derive(Debug)]
enum Step {
    /// Join as soon as there is a connection.
    Out,
    /// Asked with this id and position; answered by then, or the connection is not worth keeping.
    Asked { id: u64, since: Option<Position>, until: Duration },
    /// The server asked to come again then.
    Held(Duration),
    /// Events flow.
    In,
}

impl Core {
    pub(crate) fn new(config: Config) -> Self {
        Core {
            rng: fastrand::Rng::with_seed(config.seed),
            backoff: Backoff::new(config.backoff.0, config.backoff.1),
            config,
            link: Link::Idle,
            rooms: BTreeMap::new(),
            outbox: Outbox::default(),
            next_id: 1,
            anonymous: None,
            rejected: 0,
            was_online: false,
            actions: VecDeque::new(),
        }
    }

    /// What to do next; to be called until there is nothing.
    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The token that keeps an anonymous user the same user.
    pub(crate) fn anonymous_token(&self) -> Option<Arc<str>> {
        self.anonymous.clone()
    }

    /// Opens the connection, if nothing has yet.
    pub(crate) fn start(&mut self, now: Duration) {
        if matches!(self.link, Link::Idle) {
            self.open(now);
        }
    }

    /// Joins a room and keeps joining it until it is left.
    pub(crate) fn join(&mut self, now: Duration, joining: Joining, ticket: Ticket) {
        if let Some(error) = self.stopped() {
            return self.resolve(ticket, Err(error));
        }
        // A reader that was dropped a moment ago has left, though nobody has looked yet.
        self.sweep(now);
        if self.rooms.contains_key(&joining.room) {
            let error = Error::new(ErrorKind::AlreadyJoined, format!("already in room `{}`", joining.room));
            return self.resolve(ticket, Err(error));
        }
        let entry = Entry {
            membership: Membership::new(joining.inbox, joining.since),
            events: joining.events,
            default: joining.default,
            first: Some((ticket, now.saturating_add(self.config.deadline))),
            member: false,
            step: Step::Out,
            retries: Backoff::new(self.config.backoff.0, self.config.backoff.1),
            refused: None,
        };
        self.rooms.insert(joining.room, entry);
        self.start(now);
        self.flush(now);
    }

    /// Leaves a room; what still waits in it fails. Whoever wants to know when the server has let go gives a ticket.
    pub(crate) fn leave(&mut self, now: Duration, room: &str, ticket: Option<Ticket>) {
        let entry = self.forget(room, "left the room");
        if let Some(entry) = &entry {
            entry.membership.inbox.close();
        }
        let there = entry.is_some_and(|entry| entry.member || matches!(entry.step, Step::Asked { .. }));
        let request = Request::Leave { room_id: room.to_owned() };
        match ticket {
            Some(ticket) if there => self.request(now, None, Class::Connection, request, ticket),
            Some(ticket) => self.resolve(ticket, Ok(Reply::Done)),
            None if there => {
                // With an id, so that the `left` that answers it can't be taken for another one.
                let id = self.take_id();
                self.transmit(&request, Some(id));
            }
            None => {}
        }
    }

    /// Asks the server for something. It gets one answer, under `ticket`.
    pub(crate) fn request(
        &mut self,
        now: Duration,
        room: Option<Arc<str>>,
        class: Class,
        request: Request,
        ticket: Ticket,
    ) {
        if let Err(error) = self.admit(room.as_deref(), class) {
            return self.resolve(ticket, Err(error));
        }
        let id = self.take_id();
        let text = match request.text(Some(id)) {
            Ok(text) => text,
            Err(error) => {
                let error = Error::caused(ErrorKind::Encode, "write the request", error);
                return self.resolve(ticket, Err(error));
            }
        };
        let deadline = now.saturating_add(self.config.deadline);
        let state = State::Waiting;
        self.outbox.push(Pending { ticket, room, request, text, id, class, deadline, state });
        self.start(now);
        self.flush(now);
    }

    /// Sends an ephemeral event that nobody waits for; without a connection it is dropped.
    pub(crate) fn cast(&mut self, room: &str, request: &Request) {
        if self.rooms.get(room).is_some_and(|entry| entry.member) {
            self.transmit(request, None);
        }
    }

    /// Looks after the readers: those that are gone, and those that have room again.
    pub(crate) fn sweep(&mut self, now: Duration) {
        let gone = self.rooms.iter().filter(|(_, entry)| entry.membership.inbox.is_abandoned());
        for room in gone.map(|(room, _)| room.clone()).collect::<Vec<_>>() {
            self.leave(now, &room, None);
        }
        for entry in self.rooms.values_mut() {
            if matches!(entry.step, Step::In) && entry.membership.inbox.wants_more() {
                entry.step = Step::Out;
            }
        }
        self.flush(now);
    }

    /// Ends everything, at the application's wish.
    pub(crate) fn close(&mut self) {
        self.stop(Error::new(ErrorKind::Closed, "the client was closed"));
    }

    /// When to call [`tick`](Core::tick) at the latest.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let link = match &self.link {
            Link::Idle | Link::Stopped(_) => None,
            Link::Waiting(at) | Link::Opening(at) => Some(*at),
            Link::Online { heard, pinged, move_at, .. } => {
                let alive = match pinged {
                    Some(at) => at.saturating_add(self.config.patience),
                    None => heard.saturating_add(self.config.idle),
                };
                Some(move_at.map_or(alive, |at| at.min(alive)))
            }
        };
        let online = matches!(self.link, Link::Online { .. });
        let pending = self.outbox.iter().flat_map(|pending| {
            let held = match pending.state {
                State::NotBefore(at) if online => Some(at),
                _ => None,
            };
            [Some(pending.deadline), held]
        });
        let rooms = self.rooms.values().flat_map(|entry| {
            let step = match &entry.step {
                Step::Asked { until, .. } => Some(*until),
                Step::Held(at) if online => Some(*at),
                _ => None,
            };
            [entry.first.map(|(_, until)| until), step]
        });
        link.into_iter().chain(pending.flatten()).chain(rooms.flatten()).min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.expire(now);
        match &mut self.link {
            Link::Waiting(at) if *at <= now => self.open(now),
            Link::Opening(at) if *at <= now => {
                self.actions.push_back(Action::Shut);
                self.lost(now, Loss::Failed(Error::new(ErrorKind::Connect, "connecting took too long")));
            }
            Link::Online { move_at: Some(at), .. } if *at <= now => {
                self.actions.push_back(Action::Shut);
                self.forget_connection(now);
                self.open(now);
            }
            Link::Online { pinged: Some(at), .. } if at.saturating_add(self.config.patience) <= now => {
                self.actions.push_back(Action::Shut);
                self.lost(now, Loss::Failed(Error::new(ErrorKind::Connect, "the server fell silent")));
            }
            Link::Online { heard, pinged: pinged @ None, .. }
                if heard.saturating_add(self.config.idle) <= now =>
            {
                *pinged = Some(now);
                self.actions.push_back(Action::Ping);
            }
            _ => {}
        }
        self.flush(now);
    }

    /// Something came, if only a pong.
    pub(crate) fn heard(&mut self, now: Duration) {
        if let Link::Online { heard, pinged, .. } = &mut self.link {
            *heard = now;
            *pinged = None;
        }
    }

    /// The connection is gone, or didn't come about.
    pub(crate) fn lost(&mut self, now: Duration, loss: Loss) {
        if matches!(self.link, Link::Stopped(_) | Link::Idle | Link::Waiting(_)) {
            return;
        }
        let move_at = match self.link {
            Link::Online { move_at, .. } => move_at,
            _ => None,
        };
        if matches!(loss, Loss::Closed(Some(1009))) {
            self.fail_largest();
        }
        self.forget_connection(now);
        if let Some(error) = self.verdict(&loss) {
            return self.stop(error);
        }
        if matches!(loss, Loss::Closed(Some(4429))) {
            self.backoff.penalise(4);
        }
        let delay = self.backoff.next(&mut self.rng);
        let until = move_at.map_or(now.saturating_add(delay), |at| at.max(now));
        tracing::debug!(?loss, wait = ?until.saturating_sub(now), "connection lost");
        self.link = Link::Waiting(until);
        self.actions.push_back(Action::Status(Status::Offline));
    }

    /// Why there is no use in trying again; `None` where there is.
    fn verdict(&mut self, loss: &Loss) -> Option<Error> {
        let error = match loss {
            Loss::Closed(Some(4403)) => return Some(Error::new(ErrorKind::Removed, "removed by the server")),
            Loss::Closed(Some(4401)) | Loss::Answered { status: 401, .. } => {
                return self.unauthenticated(loss);
            }
            Loss::Answered { status, refusal } => {
                let error = refused_handshake(*status, refusal.clone());
                if matches!(status, 400 | 403) {
                    return Some(error);
                }
                error
            }
            Loss::Failed(error) => error.clone(),
            Loss::Closed(code) => {
                let code = code.map_or_else(|| "without a word".to_owned(), |code| format!("with {code}"));
                Error::new(ErrorKind::Connect, format!("the server closed the connection {code}"))
            }
        };
        (self.config.eager && !self.was_online).then_some(error)
    }

    fn unauthenticated(&mut self, loss: &Loss) -> Option<Error> {
        self.rejected = self.rejected.saturating_add(1);
        // The key that signed an anonymous token may have gone with the server's last process.
        let again = match self.config.token {
            TokenSource::None => self.anonymous.take().is_some(),
            TokenSource::Fixed => false,
            TokenSource::Renewable => self.rejected < TOKENS,
        };
        let refusal = match loss {
            Loss::Answered { refusal: Some(refusal), .. } => refusal.clone(),
            _ => Refusal::new(Code::Unauthenticated, "no valid token"),
        };
        (!again).then(|| Error::refused(Refusal { code: Code::Unauthenticated, ..refusal }))
    }

    /// A frame over the server's limit closes the connection, and would do so again: the largest on its way is it.
    fn fail_largest(&mut self) {
        let sent = self.outbox.iter().filter(|pending| pending.state == State::Sent);
        let Some(id) = sent.max_by_key(|pending| pending.text.len()).map(|pending| pending.id) else {
            return;
        };
        if let Some(pending) = self.outbox.take(id) {
            let refusal = Refusal::new(Code::TooLarge, "the frame is over the server's limit");
            self.resolve(pending.ticket, Err(Error::refused(refusal)));
        }
    }

    /// Everything that held for the connection alone.
    fn forget_connection(&mut self, now: Duration) {
        if let Link::Online { since, .. } = self.link
            && now.saturating_sub(since) >= STABLE
        {
            self.backoff.reset();
        }
        for entry in self.rooms.values_mut() {
            entry.member = false;
            entry.step = Step::Out;
            entry.retries.reset();
        }
        let late = |pending: &Pending| {
            pending.class == Class::Connection
                || (pending.class == Class::Ephemeral && pending.state == State::Sent)
        };
        for pending in self.outbox.take_if(late) {
            let answer = if pending.class == Class::Connection { Ok(Reply::Done) } else { Err(offline()) };
            self.resolve(pending.ticket, answer);
        }
        self.outbox.unsend();
    }

    fn stop(&mut self, error: Error) {
        if matches!(self.link, Link::Stopped(_)) {
            return;
        }
        self.link = Link::Stopped(error.clone());
        self.actions.push_back(Action::Shut);
        for pending in self.outbox.take_if(|_| true) {
            self.resolve(pending.ticket, Err(error.clone()));
        }
        for entry in std::mem::take(&mut self.rooms).into_values() {
            if let Some((ticket, _)) = entry.first {
                self.resolve(ticket, Err(error.clone()));
            }
            match error.kind() {
                ErrorKind::Closed => entry.membership.inbox.close(),
                _ => entry.membership.inbox.end(Interruption::Ended(error.clone())),
            }
        }
        self.actions.push_back(Action::Status(Status::Stopped(error)));
    }

    fn open(&mut self, now: Duration) {
        self.link = Link::Opening(now.saturating_add(self.config.opening));
        self.actions.push_back(Action::Status(Status::Connecting));
        self.actions.push_back(Action::Open);
    }

    fn online(&mut self, now: Duration, identity: Identity) {
        self.link = Link::Online { since: now, heard: now, pinged: None, move_at: None };
        self.was_online = true;
        self.rejected = 0;
        self.actions.push_back(Action::Status(Status::Online(identity)));
        self.flush(now);
    }

    /// Sends whatever may go: joins first, then requests in their order.
    fn flush(&mut self, now: Duration) {
        if !matches!(self.link, Link::Online { .. }) {
            return;
        }
        let until = now.saturating_add(self.config.deadline);
        for (room, entry) in &mut self.rooms {
            let due = match entry.step {
                Step::Out => true,
                Step::Held(at) => at <= now,
                _ => false,
            };
            if !due {
                continue;
            }
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            let since = entry.membership.since().cloned();
            let events = entry.events.as_ref().map(|events| events.iter().cloned().collect());
            let join = Request::Join { room_id: room.to_string(), events, since: since.clone() };
            if let Ok(text) = join.text(Some(id)) {
                self.actions.push_back(Action::Transmit(text));
                entry.step = Step::Asked { id, since, until };
            }
        }
        let rooms = &self.rooms;
        let may = |room: &Option<Arc<str>>| {
            room.as_ref().is_none_or(|room| rooms.get(room).is_some_and(|entry| entry.member))
        };
        for text in self.outbox.ready(now, may) {
            self.actions.push_back(Action::Transmit(text.to_owned()));
        }
    }

    fn expire(&mut self, now: Duration) {
        for pending in self.outbox.take_if(|pending| pending.deadline <= now) {
            self.resolve(pending.ticket, Err(too_late()));
        }
        let late = |entry: &Entry| entry.first.is_some_and(|(_, until)| until <= now);
        let rooms = self.rooms.iter().filter(|(_, entry)| late(entry)).map(|(room, _)| room.clone());
        for room in rooms.collect::<Vec<_>>() {
            let ticket = self.rooms.get_mut(&room).and_then(|entry| entry.first.take());
            self.leave(now, &room, None);
            if let Some((ticket, _)) = ticket {
                self.resolve(ticket, Err(too_late()));
            }
        }
        let silent = |entry: &Entry| matches!(entry.step, Step::Asked { until, .. } if until <= now);
        if self.rooms.values().any(silent) {
            self.actions.push_back(Action::Shut);
            self.lost(now, Loss::Failed(Error::new(ErrorKind::Connect, "the server did not answer a join")));
        }
    }

    fn admit(&self, room: Option<&str>, class: Class) -> Result<(), Error> {
        if let Some(error) = self.stopped() {
            return Err(error);
        }
        let member = match room {
            Some(room) => self.rooms.get(room).ok_or_else(|| not_joined("not in the room"))?.member,
            None => matches!(self.link, Link::Online { .. }),
        };
        if class == Class::Ephemeral && !member {
            return Err(offline());
        }
        // Who leaves makes room.
        if class != Class::Connection && self.outbox.len() >= self.config.pending {
            return Err(queue_full());
        }
        Ok(())
    }

    /// Drops a room, and fails what still waits in it.
    fn forget(&mut self, room: &str, why: &'static str) -> Option<Entry> {
        let mut entry = self.rooms.remove(room)?;
        for pending in self.outbox.take_if(|pending| pending.room.as_deref() == Some(room)) {
            self.resolve(pending.ticket, Err(not_joined(why)));
        }
        if let Some((ticket, _)) = entry.first.take() {
            self.resolve(ticket, Err(not_joined(why)));
        }
        Some(entry)
    }

    fn transmit(&mut self, request: &Request, id: Option<u64>) {
        if let (Link::Online { .. }, Ok(text)) = (&self.link, request.text(id)) {
            self.actions.push_back(Action::Transmit(text));
        }
    }

    fn resolve(&mut self, ticket: Ticket, answer: Result<Reply, Error>) {
        self.actions.push_back(Action::Resolve(ticket, answer));
    }

    fn stopped(&self) -> Option<Error> {
        match &self.link {
            Link::Stopped(error) => Some(error.clone()),
            _ => None,
        }
    }

    fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }
}

/// What a handshake that got an HTTP answer instead means.
pub(crate) fn refused_handshake(status: u16, refusal: Option<Refusal>) -> Error {
    match refusal {
        Some(refusal) => Error::refused(refusal),
        None => Error::new(ErrorKind::Connect, format!("the server answered the handshake with {status}")),
    }
}

pub(crate) fn queue_full() -> Error {
    Error::new(ErrorKind::QueueFull, "as many requests wait for the server as the offline queue holds")
}

pub(crate) fn offline() -> Error {
    Error::new(ErrorKind::Offline, "there is no connection, and an ephemeral event is not kept for later")
}

fn too_late() -> Error {
    Error::new(ErrorKind::Deadline, "the server did not answer in time")
}

pub(crate) fn not_joined(why: &'static str) -> Error {
    Error::new(ErrorKind::NotJoined, why)
}
