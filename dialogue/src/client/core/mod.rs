//! The client's protocol as a sans-I/O state machine: frames and time in, actions out.
//!
//! [`Core`] owns no task, socket or clock. Its driver passes in received frames ([`text`](Core::text)), lost
//! connections ([`lost`](Core::lost)) and the passage of time ([`tick`](Core::tick)), executes the actions of
//! [`poll`](Core::poll), and calls `tick` at [`timeout`](Core::timeout). Unit tests can thereby run many reconnects in
//! virtual time, and a browser's WebSocket can drive the core as well as tokio's.

use crate::wire::{
    frame,
    request::{Join, Leave, Raw},
};
mod backoff;
mod membership;
#[cfg(test)]
mod model;
mod receive;
mod request_queue;
mod room_buffer;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

pub(crate) use backoff::Backoff;
use http::StatusCode;
pub(crate) use membership::{InsertOutcome, Membership};
use request_queue::{Pending, RequestQueue, RequestState};
pub(crate) use request_queue::{RetryClass, Ticket};
pub(crate) use room_buffer::{BufferedItem, RoomBuffer};

use super::{
    error::{Error, ErrorKind},
    incoming::{Interruption, Joined},
    request::Request,
    status::{Identity, Status},
};
use crate::wire::{Accepted, Code, Position, Refusal};

/// Lifetime after which a connection counts as stable, so that its loss starts the backoff from the minimum.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// Number of rejected tokens in a row after which a renewable token is no longer requested.
const MAX_TOKEN_ATTEMPTS: u32 = 3;
/// Time without a take after which the reader of a full room no longer pauses reading.
const SLOW_READER_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum interval between pings while reading is paused: the server's pings are not answered then, and nothing else
/// shows the server, and proxies on the way, that the client is alive.
const UNREAD_PING_INTERVAL: Duration = Duration::from_secs(5);
/// Time after the socket opened after which the client probes the server. A server that has authenticated the client
/// sends `connected` as soon as the socket is open; one that is silent may be waiting for a token.
const PROBE_DELAY: Duration = Duration::from_millis(100);

/// The configuration of a client.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Maximum number of requests without a response.
    pub(crate) max_pending: usize,
    /// Maximum time from a request to its response.
    pub(crate) deadline: Duration,
    pub(crate) backoff: (Duration, Duration),
    /// Maximum time of a connection attempt, from the first packet to `connected`.
    pub(crate) connect_timeout: Duration,
    /// Time without a received frame after which a ping is sent.
    pub(crate) idle: Duration,
    /// Time after a ping without any received frame after which the connection is dropped.
    pub(crate) pong_timeout: Duration,
    /// True if a failure of the first attempt stops the client instead of being retried.
    pub(crate) eager: bool,
    pub(crate) token: TokenSource,
    pub(crate) seed: u64,
}

/// The origin of the client's token, which decides if a rejected token can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// No token: an anonymous client.
    None,
    /// A token that never changes.
    Fixed,
    /// A token that can be requested again.
    Renewable,
}

/// An action that the driver executes.
#[derive(Debug)]
pub(crate) enum Action {
    /// Opens a connection.
    Open,
    /// Drops the connection that is open or being opened.
    Disconnect,
    /// Sends a text frame.
    Transmit(String),
    /// Sends a ping frame.
    Ping,
    /// Resolves the caller's request.
    Resolve(Ticket, Result<Reply, Error>),
    /// Publishes the status of the connection.
    Status(Status),
}

/// The response to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    Accepted(Accepted),
    Joined(Joined),
    History(frame::History<'static>),
    Members(frame::Members<'static>),
}

/// The reason why a connection ended or could not be opened.
#[derive(Debug)]
pub(crate) enum Loss {
    /// A close frame with its code, or the end of the stream.
    Closed(Option<u16>),
    /// An HTTP status other than 101 in the handshake. Without a refusal, a proxy or another server wrote the response.
    Rejected { status: u16, refusal: Option<Refusal> },
    /// An open socket whose server waits for a token.
    TokenRequired(Refusal),
    /// Any other failure.
    Failed(Error),
}

/// The parameters of a join.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) room: Arc<str>,
    pub(crate) events: Option<BTreeSet<String>>,
    /// The events that the server sends when `events` is `None`.
    pub(crate) default: BTreeSet<String>,
    pub(crate) since: Option<Position>,
    pub(crate) buffer: Arc<RoomBuffer>,
}

/// The state machine of one client.
#[derive(Debug)]
pub(crate) struct Core {
    config: Config,
    rng: fastrand::Rng,
    backoff: Backoff,
    connection: ConnectionPhase,
    rooms: BTreeMap<Arc<str>, RoomEntry>,
    requests: RequestQueue,
    next_id: u64,
    anonymous: Option<Arc<str>>,
    rejected: u32,
    was_online: bool,
    /// Set while the driver does not read from the connection.
    is_read_paused: bool,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum ConnectionPhase {
    /// No connection was requested yet.
    Idle,
    /// Backoff until the time of the next attempt.
    Waiting(Duration),
    /// An attempt in progress, dropped at `until`.
    Opening {
        until: Duration,
        probe: Probe,
    },
    Online {
        since: Duration,
        last_received: Duration,
        pinged_at: Option<Duration>,
        /// The time at which the server, which is draining, asked the client to reconnect.
        reconnect_at: Option<Duration>,
    },
    Stopped(Error),
}

/// The progress of the probe that detects a server waiting for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// The socket is not open yet.
    None,
    /// The probe is sent at this time, unless `connected` arrives first.
    DueAt(Duration),
    /// The probe was sent with this request id.
    Sent(u64),
}

#[derive(Debug)]
struct RoomEntry {
    membership: Membership,
    events: Option<BTreeSet<String>>,
    default: BTreeSet<String>,
    /// The caller that waits for the first join, and its deadline.
    first: Option<(Ticket, Duration)>,
    /// True while this connection is a member of the room, and may send into it.
    member: bool,
    join_state: JoinState,
    /// While the buffer is full: the number of items taken at the last check, and the time since when it is unchanged.
    full_since: Option<(u64, Duration)>,
    retries: Backoff,
    /// The time of the first of the transient refusals of a rejoin.
    refused: Option<Duration>,
}

#[derive(Debug)]
enum JoinState {
    /// The join is sent as soon as there is a connection.
    NotJoined,
    /// The join was sent with this id and position. Without a response at `until` the connection is dropped.
    Requested { id: u64, since: Option<Position>, until: Duration },
    /// The join was refused for now and is sent again at this time.
    RetryAt(Duration),
    /// The room is joined and its events are accepted.
    Joined,
}

impl Core {
    pub(crate) fn new(config: Config) -> Self {
        Core {
            rng: fastrand::Rng::with_seed(config.seed),
            backoff: Backoff::new(config.backoff.0, config.backoff.1),
            config,
            connection: ConnectionPhase::Idle,
            rooms: BTreeMap::new(),
            requests: RequestQueue::default(),
            next_id: 1,
            anonymous: None,
            rejected: 0,
            was_online: false,
            is_read_paused: false,
            actions: VecDeque::new(),
        }
    }

    /// Returns the next action; the driver calls it until it returns `None`.
    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the token that the server issued to keep an anonymous user's identity over reconnects.
    pub(crate) fn anonymous_token(&self) -> Option<Arc<str>> {
        self.anonymous.clone()
    }

    /// Opens the first connection if none was requested yet.
    pub(crate) fn start(&mut self, now: Duration) {
        if matches!(self.connection, ConnectionPhase::Idle) {
            self.open(now);
        }
    }

    /// Joins a room, and joins it again after every reconnect until it is left.
    pub(crate) fn join(&mut self, now: Duration, joining: Joining, ticket: Ticket) {
        if let Some(error) = self.stopped() {
            return self.resolve(ticket, Err(error));
        }
        // Leaves the rooms of dropped readers first, since one of them may hold the room that is joined here.
        self.check_readers(now);
        if self.rooms.contains_key(&joining.room) {
            let error =
                Error::new(ErrorKind::AlreadyJoined, format!("already joined the room `{}`", joining.room));
            return self.resolve(ticket, Err(error));
        }
        let entry = RoomEntry {
            membership: Membership::new(joining.buffer, joining.since),
            events: joining.events,
            default: joining.default,
            first: Some((ticket, now.saturating_add(self.config.deadline))),
            member: false,
            join_state: JoinState::NotJoined,
            full_since: None,
            retries: Backoff::new(self.config.backoff.0, self.config.backoff.1),
            refused: None,
        };
        self.rooms.insert(joining.room, entry);
        self.start(now);
        self.flush(now);
    }

    /// Leaves a room and fails its outstanding requests. The `ticket`, if any, is resolved when the server has
    /// confirmed.
    pub(crate) fn leave(&mut self, now: Duration, room: &str, ticket: Option<Ticket>) {
        let entry = self.forget(room, "this client left the room");
        if let Some(entry) = &entry {
            entry.membership.buffer.close();
        }
        let is_known_to_server = entry
            .is_some_and(|entry| entry.member || matches!(entry.join_state, JoinState::Requested { .. }));
        let request = Request::from(Leave { room_id: room.to_owned().into() });
        match ticket {
            Some(ticket) if is_known_to_server => {
                self.request(now, None, RetryClass::Connection, request, ticket)
            }
            Some(ticket) => self.resolve(ticket, Ok(Reply::Done)),
            None if is_known_to_server => {
                // Sent with an id, so that the client does not take the `left` that answers it for a removal from a
                // later join.
                let id = self.take_id();
                self.transmit(&request, Some(id));
            }
            None => {}
        }
    }

    /// Sends a request to the server and resolves `ticket` exactly once.
    pub(crate) fn request(
        &mut self,
        now: Duration,
        room: Option<Arc<str>>,
        class: RetryClass,
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
        let state = RequestState::Waiting;
        self.requests.push(Pending { ticket, room, request, text, id, class, deadline, state });
        self.start(now);
        self.flush(now);
    }

    /// Sends an ephemeral event without a response; it is dropped if the client is not a member of the room.
    pub(crate) fn cast(&mut self, room: &str, request: &Request) {
        if self.rooms.get(room).is_some_and(|entry| entry.member) {
            self.transmit(request, None);
        }
    }

    /// Leaves the rooms of dropped readers, and joins again the rooms whose buffers overflowed and have space.
    pub(crate) fn check_readers(&mut self, now: Duration) {
        let abandoned = self.rooms.iter().filter(|(_, entry)| entry.membership.buffer.is_abandoned());
        for room in abandoned.map(|(room, _)| room.clone()).collect::<Vec<_>>() {
            self.leave(now, &room, None);
        }
        for entry in self.rooms.values_mut() {
            if matches!(entry.join_state, JoinState::Joined) && entry.membership.buffer.can_resume() {
                entry.join_state = JoinState::NotJoined;
            }
        }
        self.flush(now);
    }

    /// Decides if the driver pauses reading, which puts backpressure on the server: no request waits for a response,
    /// and every joined room's buffer is full while its reader is active. The buffer of a reader that takes nothing for
    /// [`SLOW_READER_TIMEOUT`] does not pause reading: its events are dropped and requested again.
    pub(crate) fn update_read_pause(&mut self, now: Duration) -> bool {
        let (mut rooms, mut any) = (self.rooms.values_mut(), false);
        let is_read_paused = matches!(self.connection, ConnectionPhase::Online { .. })
            && self.requests.len() == 0
            && rooms.all(|entry| match entry.join_state {
                JoinState::Joined => {
                    any = entry.has_active_reader(now);
                    any
                }
                JoinState::NotJoined | JoinState::Requested { .. } => false,
                JoinState::RetryAt(_) => true,
            })
            && any;
        if self.is_read_paused
            && !is_read_paused
            && let ConnectionPhase::Online { last_received, pinged_at, .. } = &mut self.connection
        {
            // Frames that arrived during the pause are still unread, pongs among them, so the timeouts start over.
            *last_received = now;
            *pinged_at = pinged_at.map(|_| now);
        }
        self.is_read_paused = is_read_paused;
        is_read_paused
    }

    /// Stops the client on the application's request.
    pub(crate) fn close(&mut self) {
        self.stop(Error::new(ErrorKind::Closed, "the client was closed"));
    }

    /// Returns the latest time of the next call of [`tick`](Core::tick).
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let connection = match &self.connection {
            ConnectionPhase::Idle | ConnectionPhase::Stopped(_) => None,
            ConnectionPhase::Waiting(at) => Some(*at),
            ConnectionPhase::Opening { until, probe: Probe::DueAt(at) } => Some(*at.min(until)),
            ConnectionPhase::Opening { until, .. } => Some(*until),
            ConnectionPhase::Online { last_received, pinged_at, reconnect_at, .. } => {
                let alive = match pinged_at {
                    _ if self.is_read_paused => self.ping_unread_at(*last_received, *pinged_at),
                    Some(at) => at.saturating_add(self.config.pong_timeout),
                    None => last_received.saturating_add(self.config.idle),
                };
                Some(reconnect_at.map_or(alive, |at| at.min(alive)))
            }
        };
        let online = matches!(self.connection, ConnectionPhase::Online { .. });
        let pending = self.requests.iter().flat_map(|pending| {
            let held = match pending.state {
                RequestState::NotBefore(at) if online => Some(at),
                _ => None,
            };
            [Some(pending.deadline), held]
        });
        let rooms = self.rooms.values().flat_map(|entry| {
            let join_state = match &entry.join_state {
                JoinState::Requested { until, .. } => Some(*until),
                JoinState::RetryAt(at) if online => Some(*at),
                _ => None,
            };
            [entry.first.map(|(_, until)| until), join_state]
        });
        let full = self.rooms.values().filter_map(|entry| entry.full_since.filter(|_| self.is_read_paused));
        let full = full.map(|(_, since)| since.saturating_add(SLOW_READER_TIMEOUT));
        connection.into_iter().chain(pending.flatten()).chain(rooms.flatten()).chain(full).min()
    }

    /// Handles the timeouts that are due at `now`.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.expire(now);
        match &mut self.connection {
            ConnectionPhase::Waiting(at) if *at <= now => self.open(now),
            ConnectionPhase::Opening { until, .. } if *until <= now => {
                self.actions.push_back(Action::Disconnect);
                self.lost(
                    now,
                    Loss::Failed(Error::new(ErrorKind::Connect, "the connection attempt timed out")),
                );
            }
            ConnectionPhase::Opening { probe: Probe::DueAt(at), .. } if *at <= now => self.probe(),
            ConnectionPhase::Online { reconnect_at: Some(at), .. } if *at <= now => {
                self.actions.push_back(Action::Disconnect);
                self.reset_connection_state(now);
                self.open(now);
            }
            ConnectionPhase::Online { last_received, pinged_at, .. } if self.is_read_paused => {
                let (last_received, last) = (*last_received, *pinged_at);
                if self.ping_unread_at(last_received, last) <= now {
                    self.ping(now);
                }
            }
            ConnectionPhase::Online { pinged_at: Some(at), .. }
                if at.saturating_add(self.config.pong_timeout) <= now =>
            {
                self.actions.push_back(Action::Disconnect);
                self.lost(
                    now,
                    Loss::Failed(Error::new(
                        ErrorKind::Connect,
                        "no frame was received within the keep-alive timeouts",
                    )),
                );
            }
            ConnectionPhase::Online { last_received, pinged_at: None, .. }
                if last_received.saturating_add(self.config.idle) <= now =>
            {
                self.ping(now);
            }
            _ => {}
        }
        self.flush(now);
    }

    fn ping(&mut self, now: Duration) {
        if let ConnectionPhase::Online { pinged_at, .. } = &mut self.connection {
            *pinged_at = Some(now);
            self.actions.push_back(Action::Ping);
        }
    }

    /// Returns the time of the next ping while reading is paused, when pongs are not read either.
    fn ping_unread_at(&self, last_received: Duration, pinged_at: Option<Duration>) -> Duration {
        let last = pinged_at.map_or(last_received, |pinged_at| pinged_at.max(last_received));
        last.saturating_add(self.config.idle.min(UNREAD_PING_INTERVAL))
    }

    /// Records that the socket is open; the `connected` frame is still outstanding.
    pub(crate) fn opened(&mut self, now: Duration) {
        if let ConnectionPhase::Opening { probe, .. } = &mut self.connection {
            *probe = Probe::DueAt(now.saturating_add(PROBE_DELAY));
        }
    }

    /// Sends a request without effect. A server that waits for a token answers it with `UNAUTHENTICATED`, long before
    /// it closes the connection.
    fn probe(&mut self) {
        let id = self.take_id();
        if let ConnectionPhase::Opening { probe, .. } = &mut self.connection {
            *probe = Probe::Sent(id);
            // No room has the empty id. A `ping` frame would not do: servers may answer it before authentication.
            if let Ok(text) = Request::from(Leave { room_id: "".into() }).text(Some(id)) {
                self.actions.push_back(Action::Transmit(text));
            }
        }
    }

    /// Records that a frame was received, control frames included.
    pub(crate) fn received(&mut self, now: Duration) {
        if let ConnectionPhase::Online { last_received, pinged_at, .. } = &mut self.connection {
            *last_received = now;
            *pinged_at = None;
        }
    }

    /// Handles a lost connection or a failed attempt: stops the client or starts the backoff.
    pub(crate) fn lost(&mut self, now: Duration, loss: Loss) {
        if matches!(
            self.connection,
            ConnectionPhase::Stopped(_) | ConnectionPhase::Idle | ConnectionPhase::Waiting(_)
        ) {
            return;
        }
        let reconnect_at = match self.connection {
            ConnectionPhase::Online { reconnect_at, .. } => reconnect_at,
            _ => None,
        };
        if matches!(loss, Loss::Closed(Some(1009))) {
            self.fail_largest();
        }
        self.reset_connection_state(now);
        if let Some(error) = self.final_error(&loss) {
            return self.stop(error);
        }
        if matches!(loss, Loss::Closed(Some(4429))) {
            self.backoff.penalise(4);
        }
        let delay = self.backoff.next(&mut self.rng);
        let until = reconnect_at.map_or(now.saturating_add(delay), |at| at.max(now));
        tracing::debug!(?loss, wait = ?until.saturating_sub(now), "connection lost");
        self.connection = ConnectionPhase::Waiting(until);
        self.actions.push_back(Action::Status(Status::Offline));
    }

    /// Returns the error that stops the client, or `None` if the client retries.
    fn final_error(&mut self, loss: &Loss) -> Option<Error> {
        let error = match loss {
            Loss::Closed(Some(4403)) => return Some(Error::new(ErrorKind::Removed, "removed by the server")),
            Loss::Closed(Some(4401)) | Loss::Rejected { status: 401, .. } | Loss::TokenRequired(_) => {
                let error = self.unauthenticated(loss)?;
                return (!self.is_foreign_response(loss)).then_some(error);
            }
            Loss::Rejected { status, refusal } => {
                let error = response_error(*status, refusal.clone());
                if matches!(status, 400 | 403) && !self.is_foreign_response(loss) {
                    return Some(error);
                }
                error
            }
            Loss::Failed(error) => error.clone(),
            Loss::Closed(code) => {
                let code = code
                    .map_or_else(|| "without a close code".to_owned(), |code| format!("with code {code}"));
                Error::new(ErrorKind::Connect, format!("the server closed the connection {code}"))
            }
        };
        (self.config.eager && !self.was_online).then_some(error)
    }

    /// Returns true if a response without a refusal arrives at an address that worked before: a proxy whose server
    /// restarts, for example. Such a status does not stop the client.
    fn is_foreign_response(&self, loss: &Loss) -> bool {
        self.was_online && matches!(loss, Loss::Rejected { refusal: None, .. })
    }

    fn unauthenticated(&mut self, loss: &Loss) -> Option<Error> {
        if !self.is_foreign_response(loss) {
            self.rejected = self.rejected.saturating_add(1);
        }
        // The key that signed the anonymous token may have been lost in a restart of the server.
        let again = match self.config.token {
            TokenSource::None => self.anonymous.take().is_some(),
            TokenSource::Fixed => false,
            TokenSource::Renewable => self.rejected < MAX_TOKEN_ATTEMPTS,
        };
        if again {
            return None;
        }
        Some(match loss {
            Loss::Rejected { status, refusal } => response_error(*status, refusal.clone()),
            Loss::TokenRequired(refusal) if self.config.token == TokenSource::None => {
                Error::token_wanted(refusal.clone())
            }
            Loss::TokenRequired(refusal) => Error::refused(refusal.clone()),
            _ => Error::refused(Refusal::new(Code::Unauthenticated, "no valid token")),
        })
    }

    /// Fails the largest unanswered request after close code 1009: it exceeded the server's limit and would do so
    /// again.
    fn fail_largest(&mut self) {
        let sent = self.requests.iter().filter(|pending| pending.state == RequestState::Sent);
        let Some(id) = sent.max_by_key(|pending| pending.text.len()).map(|pending| pending.id) else {
            return;
        };
        if let Some(pending) = self.requests.take(id) {
            let refusal = Refusal::new(Code::TooLarge, "the frame exceeds the server's size limit");
            self.resolve(pending.ticket, Err(Error::refused(refusal)));
        }
    }

    /// Resets the state that belongs to the lost connection.
    fn reset_connection_state(&mut self, now: Duration) {
        if let ConnectionPhase::Online { since, .. } = self.connection
            && now.saturating_sub(since) >= STABLE_AFTER
        {
            self.backoff.reset();
        }
        for entry in self.rooms.values_mut() {
            entry.member = false;
            entry.join_state = JoinState::NotJoined;
            entry.retries.reset();
        }
        let is_late = |pending: &Pending| {
            pending.class == RetryClass::Connection
                || (pending.class == RetryClass::Ephemeral && pending.state == RequestState::Sent)
        };
        for pending in self.requests.take_if(is_late) {
            let response =
                if pending.class == RetryClass::Connection { Ok(Reply::Done) } else { Err(offline()) };
            self.resolve(pending.ticket, response);
        }
        self.requests.requeue_sent();
    }

    fn stop(&mut self, error: Error) {
        if matches!(self.connection, ConnectionPhase::Stopped(_)) {
            return;
        }
        self.connection = ConnectionPhase::Stopped(error.clone());
        self.actions.push_back(Action::Disconnect);
        for pending in self.requests.take_if(|_| true) {
            self.resolve(pending.ticket, Err(error.clone()));
        }
        for entry in std::mem::take(&mut self.rooms).into_values() {
            if let Some((ticket, _)) = entry.first {
                self.resolve(ticket, Err(error.clone()));
            }
            match error.kind() {
                ErrorKind::Closed => entry.membership.buffer.close(),
                _ => entry.membership.buffer.end(Interruption::Ended(error.clone())),
            }
        }
        self.actions.push_back(Action::Status(Status::Stopped(error)));
    }

    fn open(&mut self, now: Duration) {
        self.connection = ConnectionPhase::Opening {
            until: now.saturating_add(self.config.connect_timeout),
            probe: Probe::None,
        };
        self.actions.push_back(Action::Status(Status::Connecting));
        self.actions.push_back(Action::Open);
    }

    fn online(&mut self, now: Duration, identity: Identity) {
        self.connection =
            ConnectionPhase::Online { since: now, last_received: now, pinged_at: None, reconnect_at: None };
        self.was_online = true;
        self.rejected = 0;
        self.actions.push_back(Action::Status(Status::Online(identity)));
        self.flush(now);
    }

    /// Sends the frames that are due: joins first, then requests in their order.
    fn flush(&mut self, now: Duration) {
        if !matches!(self.connection, ConnectionPhase::Online { .. }) {
            return;
        }
        let until = now.saturating_add(self.config.deadline);
        for (room, entry) in &mut self.rooms {
            let due = match entry.join_state {
                JoinState::NotJoined => true,
                JoinState::RetryAt(at) => at <= now,
                _ => false,
            };
            if !due {
                continue;
            }
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            let since = entry.membership.since().cloned();
            let events = entry.events.as_ref().map(|events| events.iter().cloned().map(Into::into).collect());
            let position = since.as_ref().map(Raw::of).transpose();
            let text = position.and_then(|since| {
                Request::from(Join { room_id: room.to_string().into(), events, since }).text(Some(id))
            });
            if let Ok(text) = text {
                self.actions.push_back(Action::Transmit(text));
                entry.join_state = JoinState::Requested { id, since, until };
            }
        }
        let rooms = &self.rooms;
        let is_sendable = |room: &Option<Arc<str>>| {
            room.as_ref().is_none_or(|room| rooms.get(room).is_some_and(|entry| entry.member))
        };
        for text in self.requests.ready(now, is_sendable) {
            self.actions.push_back(Action::Transmit(text.to_owned()));
        }
    }

    fn expire(&mut self, now: Duration) {
        for pending in self.requests.take_if(|pending| pending.deadline <= now) {
            self.resolve(pending.ticket, Err(deadline_exceeded()));
        }
        let is_late = |entry: &RoomEntry| entry.first.is_some_and(|(_, until)| until <= now);
        let rooms = self.rooms.iter().filter(|(_, entry)| is_late(entry)).map(|(room, _)| room.clone());
        for room in rooms.collect::<Vec<_>>() {
            let ticket = self.rooms.get_mut(&room).and_then(|entry| entry.first.take());
            self.leave(now, &room, None);
            if let Some((ticket, _)) = ticket {
                self.resolve(ticket, Err(deadline_exceeded()));
            }
        }
        let silent = |entry: &RoomEntry| matches!(entry.join_state, JoinState::Requested { until, .. } if until <= now);
        if self.rooms.values().any(silent) {
            self.actions.push_back(Action::Disconnect);
            self.lost(
                now,
                Loss::Failed(Error::new(ErrorKind::Connect, "the server did not respond to a join")),
            );
        }
    }

    fn admit(&self, room: Option<&str>, class: RetryClass) -> Result<(), Error> {
        if let Some(error) = self.stopped() {
            return Err(error);
        }
        let member = match room {
            Some(room) => {
                self.rooms.get(room).ok_or_else(|| not_joined("this client has not joined the room"))?.member
            }
            None => matches!(self.connection, ConnectionPhase::Online { .. }),
        };
        if class == RetryClass::Ephemeral && !member {
            return Err(offline());
        }
        // The class `Connection` is exempt from the bound: a leave frees the places of its room's requests.
        if class != RetryClass::Connection && self.requests.len() >= self.config.max_pending {
            return Err(queue_full());
        }
        Ok(())
    }

    /// Removes a room and fails its outstanding requests with `why`.
    fn forget(&mut self, room: &str, why: &'static str) -> Option<RoomEntry> {
        let mut entry = self.rooms.remove(room)?;
        for pending in self.requests.take_if(|pending| pending.room.as_deref() == Some(room)) {
            self.resolve(pending.ticket, Err(not_joined(why)));
        }
        if let Some((ticket, _)) = entry.first.take() {
            self.resolve(ticket, Err(not_joined(why)));
        }
        Some(entry)
    }

    fn transmit(&mut self, request: &Request, id: Option<u64>) {
        if let (ConnectionPhase::Online { .. }, Ok(text)) = (&self.connection, request.text(id)) {
            self.actions.push_back(Action::Transmit(text));
        }
    }

    fn resolve(&mut self, ticket: Ticket, response: Result<Reply, Error>) {
        self.actions.push_back(Action::Resolve(ticket, response));
    }

    fn stopped(&self) -> Option<Error> {
        match &self.connection {
            ConnectionPhase::Stopped(error) => Some(error.clone()),
            _ => None,
        }
    }

    fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }
}

impl RoomEntry {
    /// Returns true if the buffer is full and its reader took an item within [`SLOW_READER_TIMEOUT`].
    fn has_active_reader(&mut self, now: Duration) -> bool {
        let buffer = &self.membership.buffer;
        if !buffer.is_full() {
            self.full_since = None;
            return false;
        }
        let taken = buffer.taken_count();
        let since = self.full_since.filter(|(before, _)| *before == taken).map_or(now, |(_, since)| since);
        self.full_since = Some((taken, since));
        now.saturating_sub(since) < SLOW_READER_TIMEOUT
    }
}

/// Maps the HTTP status and body of a failed handshake, stream or history request to an error.
pub(crate) fn response_error(status: u16, refusal: Option<Refusal>) -> Error {
    if let Some(refusal) = refusal {
        return Error::refused(refusal);
    }
    let kind = if status == 401 { ErrorKind::Unauthenticated } else { ErrorKind::Connect };
    let status =
        StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |status| status.to_string());
    let text = format!(
        "the response is `{status}`, and Dialogue did not write it: check the path in the URL, and any proxy or load \
         balancer in front of the server"
    );
    Error::new(kind, text)
}

pub(crate) fn queue_full() -> Error {
    Error::new(
        ErrorKind::QueueFull,
        "the queue of requests without a response is full: raise `Connect::offline_queue` or send more slowly",
    )
}

pub(crate) fn offline() -> Error {
    Error::new(ErrorKind::Offline, "there is no connection, and an ephemeral event is not queued for later")
}

fn deadline_exceeded() -> Error {
    Error::new(ErrorKind::Deadline, "the server did not respond before the deadline")
}

pub(crate) fn not_joined(why: &'static str) -> Error {
    Error::new(ErrorKind::NotJoined, why)
}
