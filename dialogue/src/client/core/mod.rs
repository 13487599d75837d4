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
use http::StatusCode;
pub(crate) use inbox::{Inbox, Item};
pub(crate) use membership::{Membership, Verdict};
pub(crate) use outbox::{Class, Ticket};
use outbox::{Outbox, Pending, State};

use super::{
    error::{Error, ErrorKind},
    frame::{HistoryFrame, Request},
    incoming::{Interruption, Joined},
    status::{Identity, Status},
};
use crate::wire::{Accepted, Code, Position, Refusal};

/// A connection that held so long starts the backoff over.
const STABLE: Duration = Duration::from_secs(5);
/// After a rejected token the next one is asked for, so often in a row.
const TOKENS: u32 = 3;
/// The reader of a full room is taken to be at work for so long after it took something.
const AT_WORK: Duration = Duration::from_secs(10);
/// A connection that isn't read is pinged after so long at most: neither the server's pings are answered then, nor does
/// anything else tell the server, and proxies in between, that the client lives.
const PING_UNREAD: Duration = Duration::from_secs(5);
/// A server that knows who a client is says `connected` as soon as the socket is open. One that says nothing for this
/// long is asked whether it waits for a token.
const SILENT: Duration = Duration::from_millis(100);

/// The configuration of a client.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// At most so many requests wait for their answer.
    pub(crate) pending: usize,
    /// The timeout of a request, reconnects and retries included.
    pub(crate) deadline: Duration,
    pub(crate) backoff: (Duration, Duration),
    /// A connection, from the first packet to `connected`, may take so long.
    pub(crate) opening: Duration,
    /// After so long without a frame, a ping.
    pub(crate) idle: Duration,
    /// After a ping without an answer for so long, the connection is dead.
    pub(crate) patience: Duration,
    /// Set if a failure of the first attempt to connect is final.
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

/// The effects that the driver carries out.
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
    History(HistoryFrame),
    Members(super::frame::MembersFrame),
}

/// The end of a connection, or the failure to connect.
#[derive(Debug)]
pub(crate) enum Loss {
    /// A close frame, or the end of the stream.
    Closed(Option<u16>),
    /// The handshake got an HTTP status instead; without a refusal it is not Dialogue that answered.
    Answered { status: u16, refusal: Option<Refusal> },
    /// The socket is open, and the server waits for a token.
    Unidentified(Refusal),
    /// Anything else.
    Failed(Error),
}

/// A room to join.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) room: Arc<str>,
    pub(crate) events: Option<BTreeSet<String>>,
    /// The events of the room by default, if `events` is not sent.
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
    /// Set while the connection is not read.
    rests: bool,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum Link {
    /// Nothing has asked for a connection yet.
    Idle,
    /// Until the next attempt.
    Waiting(Duration),
    /// Until it takes too long.
    Opening {
        until: Duration,
        probe: Probe,
    },
    Online {
        since: Duration,
        heard: Duration,
        pinged: Option<Duration>,
        /// The server asked to go elsewhere then.
        move_at: Option<Duration>,
    },
    Stopped(Error),
}

/// Set once the server was asked if it waits for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// The socket is not open yet.
    None,
    /// It is asked then, unless it says `connected` first.
    At(Duration),
    /// It was asked under this id.
    Asked(u64),
}

#[derive(Debug)]
struct Entry {
    membership: Membership,
    events: Option<BTreeSet<String>>,
    default: BTreeSet<String>,
    /// The caller that waits for the first join, and its deadline.
    first: Option<(Ticket, Duration)>,
    /// Set once this connection has joined the room, and may send there.
    member: bool,
    step: Step,
    /// While its inbox is full: how many items were taken when this was seen last, and since when it has been as many.
    full: Option<(u64, Duration)>,
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
            rests: false,
            actions: VecDeque::new(),
        }
    }

    /// Returns the next effect. The driver calls it until it returns `None`.
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
            full: None,
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

    /// Returns whether the connection is better not read at the moment, so that the server waits with the application:
    /// no request waits for an answer, and every room is full of events that its reader is about to take. A reader that
    /// takes nothing for a while holds nothing up: its room's events are dropped then, and asked for again.
    pub(crate) fn rests(&mut self, now: Duration) -> bool {
        let (mut rooms, mut any) = (self.rooms.values_mut(), false);
        let rests = matches!(self.link, Link::Online { .. })
            && self.outbox.len() == 0
            && rooms.all(|entry| match entry.step {
                Step::In => {
                    any = entry.is_about_to_take(now);
                    any
                }
                Step::Out | Step::Asked { .. } => false,
                Step::Held(_) => true,
            })
            && any;
        if self.rests
            && !rests
            && let Link::Online { heard, pinged, .. } = &mut self.link
        {
            // Frames that came during the rest are still to be read, answers to pings among them.
            *heard = now;
            *pinged = pinged.map(|_| now);
        }
        self.rests = rests;
        rests
    }

    /// Ends everything, at the application's wish.
    pub(crate) fn close(&mut self) {
        self.stop(Error::new(ErrorKind::Closed, "the client was closed"));
    }

    /// When to call [`tick`](Core::tick) at the latest.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let link = match &self.link {
            Link::Idle | Link::Stopped(_) => None,
            Link::Waiting(at) => Some(*at),
            Link::Opening { until, probe: Probe::At(at) } => Some(*at.min(until)),
            Link::Opening { until, .. } => Some(*until),
            Link::Online { heard, pinged, move_at, .. } => {
                let alive = match pinged {
                    _ if self.rests => self.ping_unread_at(*heard, *pinged),
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
        let full = self.rooms.values().filter_map(|entry| entry.full.filter(|_| self.rests));
        let full = full.map(|(_, since)| since.saturating_add(AT_WORK));
        link.into_iter().chain(pending.flatten()).chain(rooms.flatten()).chain(full).min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.expire(now);
        match &mut self.link {
            Link::Waiting(at) if *at <= now => self.open(now),
            Link::Opening { until, .. } if *until <= now => {
                self.actions.push_back(Action::Shut);
                self.lost(now, Loss::Failed(Error::new(ErrorKind::Connect, "connecting took too long")));
            }
            Link::Opening { probe: Probe::At(at), .. } if *at <= now => self.probe(),
            Link::Online { move_at: Some(at), .. } if *at <= now => {
                self.actions.push_back(Action::Shut);
                self.forget_connection(now);
                self.open(now);
            }
            Link::Online { heard, pinged, .. } if self.rests => {
                let (heard, last) = (*heard, *pinged);
                if self.ping_unread_at(heard, last) <= now {
                    self.ping(now);
                }
            }
            Link::Online { pinged: Some(at), .. } if at.saturating_add(self.config.patience) <= now => {
                self.actions.push_back(Action::Shut);
                self.lost(now, Loss::Failed(Error::new(ErrorKind::Connect, "the server fell silent")));
            }
            Link::Online { heard, pinged: None, .. } if heard.saturating_add(self.config.idle) <= now => {
                self.ping(now);
            }
            _ => {}
        }
        self.flush(now);
    }

    fn ping(&mut self, now: Duration) {
        if let Link::Online { pinged, .. } = &mut self.link {
            *pinged = Some(now);
            self.actions.push_back(Action::Ping);
        }
    }

    /// The time of the next ping on a connection that isn't read, where the answers to those before are not read
    /// either.
    fn ping_unread_at(&self, heard: Duration, pinged: Option<Duration>) -> Duration {
        let last = pinged.map_or(heard, |pinged| pinged.max(heard));
        last.saturating_add(self.config.idle.min(PING_UNREAD))
    }

    /// The socket is open; the server has not said who the client is.
    pub(crate) fn opened(&mut self, now: Duration) {
        if let Link::Opening { probe, .. } = &mut self.link {
            *probe = Probe::At(now.saturating_add(SILENT));
        }
    }

    /// Sends a request that changes nothing: it is answered `UNAUTHENTICATED` by a server that waits for a token,
    /// instead of the close that follows much later.
    fn probe(&mut self) {
        let id = self.take_id();
        if let Link::Opening { probe, .. } = &mut self.link {
            *probe = Probe::Asked(id);
            // No room has this id. A `ping` would not do: servers may answer it before they know who asks.
            if let Ok(text) = (Request::Leave { room_id: String::new() }).text(Some(id)) {
                self.actions.push_back(Action::Transmit(text));
            }
        }
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
            Loss::Closed(Some(4401)) | Loss::Answered { status: 401, .. } | Loss::Unidentified(_) => {
                let error = self.unauthenticated(loss)?;
                return (!self.is_passing(loss)).then_some(error);
            }
            Loss::Answered { status, refusal } => {
                let error = refused_handshake(*status, refusal.clone());
                if matches!(status, 400 | 403) && !self.is_passing(loss) {
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

    /// True if what answered the handshake isn't Dialogue, though the address is right: a proxy whose server restarts,
    /// for one. Its statuses are no verdict on the client.
    fn is_passing(&self, loss: &Loss) -> bool {
        self.was_online && matches!(loss, Loss::Answered { refusal: None, .. })
    }

    fn unauthenticated(&mut self, loss: &Loss) -> Option<Error> {
        if !self.is_passing(loss) {
            self.rejected = self.rejected.saturating_add(1);
        }
        // The key that signed an anonymous token may have gone with the server's last process.
        let again = match self.config.token {
            TokenSource::None => self.anonymous.take().is_some(),
            TokenSource::Fixed => false,
            TokenSource::Renewable => self.rejected < TOKENS,
        };
        if again {
            return None;
        }
        Some(match loss {
            Loss::Answered { status, refusal } => refused_handshake(*status, refusal.clone()),
            Loss::Unidentified(refusal) if self.config.token == TokenSource::None => {
                Error::token_wanted(refusal.clone())
            }
            Loss::Unidentified(refusal) => Error::refused(refusal.clone()),
            _ => Error::refused(Refusal::new(Code::Unauthenticated, "no valid token")),
        })
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
        self.link = Link::Opening { until: now.saturating_add(self.config.opening), probe: Probe::None };
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
        // The requests of class `Connection`, such as a leave, are exempt: a leave frees capacity.
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

impl Entry {
    /// Returns whether its inbox is full, and its reader took something in the last while.
    fn is_about_to_take(&mut self, now: Duration) -> bool {
        let inbox = &self.membership.inbox;
        if !inbox.is_full() {
            self.full = None;
            return false;
        }
        let taken = inbox.taken();
        let since = self.full.filter(|(before, _)| *before == taken).map_or(now, |(_, since)| since);
        self.full = Some((taken, since));
        now.saturating_sub(since) < AT_WORK
    }
}

/// The meaning of an HTTP answer to a request for a socket, a stream or a page of history.
pub(crate) fn refused_handshake(status: u16, refusal: Option<Refusal>) -> Error {
    if let Some(refusal) = refusal {
        return Error::refused(refusal);
    }
    let kind = if status == 401 { ErrorKind::Unauthenticated } else { ErrorKind::Connect };
    let status =
        StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |status| status.to_string());
    let text = format!(
        "the answer is `{status}`, and Dialogue did not write it: check the path in the url, and what stands in between \
         (a proxy, a load balancer)"
    );
    Error::new(kind, text)
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
