//! A client of the simulation: it speaks the protocol as a well-behaved client does. It comes back to any node with its
//! positions, repeats unanswered events with their keys, and holds what it gets against the promises.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::{
    select,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    application::ROOMS,
    frame::{Frame, Position},
    world::{Report, World},
};
use crate::live::Outbox;

/// A client with its memory, which outlives its connections.
pub(super) struct Client {
    pub(super) world: Arc<World>,
    pub(super) user: String,
    pub(super) rng: Rng,
    pub(super) rooms: BTreeMap<&'static str, RoomView>,
    /// The events that aren't accepted, oldest first.
    pub(super) unsent: VecDeque<Draft>,
    /// Some events that were accepted, newest last: they are sent again now and then.
    pub(super) accepted: VecDeque<Draft>,
    /// The requests without an answer, on the present connection.
    pub(super) pending: BTreeMap<u64, (Instant, Pending)>,
    /// The newest event of the present connection that was accepted in each room: request, number, id, and when.
    pub(super) newest_ok: BTreeMap<&'static str, (u64, u64, String, Instant)>,
    /// The number of the newest ephemeral event of each connection of others.
    pub(super) typed: BTreeMap<String, u64>,
    /// The members of the chat by the frames that the client got.
    pub(super) members: BTreeSet<String>,
    /// Set while the client has joined the chat and not yet asked for its members.
    pub(super) must_list: bool,
    connections: u64,
    next_text: u64,
    next_request: u64,
}

/// What the client has of a room.
#[derive(Debug, Default, Clone)]
pub(super) struct RoomView {
    /// Whether the client wants to be in it.
    is_wanted: bool,
    pub(super) is_joined: bool,
    pub(super) position: Option<Position>,
    /// A position that the client had before, and from which it resumes now and then, as one that was not saved since.
    pub(super) earlier: Option<Position>,
}

#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) room: &'static str,
    pub(super) text: String,
    /// When it may be sent again.
    pub(super) not_before: Instant,
    pub(super) is_repeated: bool,
}

/// A connection to a node.
pub(super) struct Connection {
    pub(super) outbox: Arc<Outbox>,
    pub(super) frames: mpsc::Sender<String>,
    pub(super) task: JoinHandle<()>,
    pub(super) node: usize,
}

/// A request without an answer.
#[derive(Debug)]
pub(super) enum Pending {
    Join { room: &'static str, since: Option<Position> },
    Trigger(Draft),
    Leave { room: &'static str },
    Members,
}

/// The next step of a client with its connection.
enum Next {
    Stay,
    /// It disconnects, and comes back after this time.
    Away(Duration),
}

/// How long a request may take at most: over slow links, a join waits for many calls of 5 s, and for what its room does
/// before.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(100);

impl Client {
    pub(super) fn new(world: &Arc<World>, user: &str, seed: u64) -> Self {
        Client {
            world: Arc::clone(world),
            user: user.to_owned(),
            rng: Rng::with_seed(seed),
            rooms: ROOMS
                .iter()
                .map(|room| (*room, RoomView { is_wanted: true, ..RoomView::default() }))
                .collect(),
            unsent: VecDeque::new(),
            accepted: VecDeque::new(),
            pending: BTreeMap::new(),
            newest_ok: BTreeMap::new(),
            typed: BTreeMap::new(),
            members: BTreeSet::new(),
            must_list: false,
            connections: 0,
            next_text: 0,
            next_request: 0,
        }
    }

    /// Lives until the world ends.
    pub(super) async fn live(mut self) {
        loop {
            self.rooms.values_mut().for_each(|view| view.is_joined = false);
            self.newest_ok.clear();
            self.typed.clear();
            self.connections += 1;
            self.report();
            let away = match self.world.connect(&self.user, &mut self.rng).await {
                Some(connection) => self.converse(connection).await,
                None => Duration::from_millis(self.rng.u64(50..500)),
            };
            sleep(away).await;
        }
    }

    /// Uses a connection until it ends; returns the time until the next one.
    async fn converse(&mut self, mut connection: Connection) -> Duration {
        let mut act_at = Instant::now();
        let mut received = Vec::new();
        let away = loop {
            received.clear();
            let outbox = &connection.outbox;
            let taken = poll_fn(|cx| match outbox.poll_take(cx, usize::MAX, &mut received) {
                Poll::Ready(taken) => Poll::Ready(taken.is_ok()),
                Poll::Pending => Poll::Pending,
            });
            select! {
                biased;
                is_open = taken => {
                    self.receive_all(&received.concat());
                    if !is_open {
                        break Duration::ZERO;
                    }
                }
                _ = &mut connection.task => break Duration::ZERO,
                () = sleep_until(act_at) => {
                    if self.lacks_answer(&connection) {
                        break Duration::ZERO;
                    }
                    let next = self.act(&connection);
                    self.report();
                    if let Next::Away(away) = next {
                        break away;
                    }
                    act_at = Instant::now() + Duration::from_millis(self.rng.u64(20..400));
                }
            }
        };
        let (user, node) = (&self.user, connection.node);
        self.world.truth.lock().note(|| format!("{user} is no more connected to {node}"));
        connection.task.abort();
        for (_, (_, pending)) in std::mem::take(&mut self.pending) {
            if let Pending::Trigger(draft) = pending {
                self.unsent.push_back(Draft { is_repeated: true, ..draft });
            }
        }
        away
    }

    fn receive_all(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).expect("text");
        for json in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            self.receive(&Frame::parse(json));
        }
        self.report();
    }

    /// Returns whether a request has had no answer for too long.
    fn lacks_answer(&self, connection: &Connection) -> bool {
        // They are in the order in which they were made.
        let oldest = self.pending.values().next().filter(|(at, _)| at.elapsed() > MAX_ANSWER_TIME);
        if let Some((_, unanswered)) = oldest {
            let (user, node) = (&self.user, connection.node);
            let what = format!("{user} gets no answer of node {node} to {unanswered:?}");
            self.world.truth.lock().violated(what);
        }
        oldest.is_some()
    }

    /// Does one thing.
    fn act(&mut self, connection: &Connection) -> Next {
        for room in ROOMS {
            let is_asked = self.pending.values().any(|(_, pending)| match pending {
                Pending::Join { room: other, .. } | Pending::Leave { room: other } => *other == room,
                Pending::Trigger(_) | Pending::Members => false,
            });
            let view = &self.rooms[room];
            if view.is_wanted && !view.is_joined && !is_asked {
                self.join(connection, room, true);
                return Next::Stay;
            }
        }
        if std::mem::take(&mut self.must_list) && self.rooms["chat"].is_joined {
            let id = self.request(connection, json!({ "type": "members", "roomId": "chat" }));
            self.pending.insert(id, (Instant::now(), Pending::Members));
        }
        let now = Instant::now();
        let is_due = |draft: &Draft| draft.not_before <= now && self.rooms[draft.room].is_joined;
        if let Some(at) = self.unsent.iter().position(is_due) {
            // The events of a burst are repeated in one.
            for _ in 0..1 + self.unsent.len() / 16 {
                if let Some(draft) = self.unsent.remove(at) {
                    self.trigger(connection, draft);
                }
            }
            return Next::Stay;
        }
        if !self.world.is_active() {
            self.rooms.values_mut().for_each(|view| view.is_wanted = true);
            return Next::Stay;
        }
        self.act_at_will(connection)
    }

    /// Does what it likes.
    fn act_at_will(&mut self, connection: &Connection) -> Next {
        let room = ROOMS[self.rng.usize(..ROOMS.len())];
        match self.rng.u32(..1_000) {
            0..640 => self.send(connection, room),
            640..650 if self.world.plan.has_bursts => {
                (0..self.rng.u32(1..300)).for_each(|_| self.send(connection, room));
            }
            650..700 => {
                let again = self.accepted.iter().rposition(|draft| self.rooms[draft.room].is_joined);
                if let Some(again) = again.and_then(|at| self.accepted.remove(at)) {
                    self.trigger(connection, again);
                }
            }
            700..780 => {
                self.next_text += 1;
                let text = format!("{}#{}/{}", self.user, self.connections, self.next_text);
                let typing = json!({ "type": "trigger", "roomId": "chat", "event": "typing", "data": { "text": text } });
                let _ = connection.frames.try_send(typing.to_string());
            }
            780..840 => {
                let resumes = self.rng.bool();
                self.join(connection, room, resumes);
            }
            840..880 => self.leave(connection, room),
            880..930 => self.rooms.values_mut().for_each(|view| view.is_wanted = true),
            930..955 => return Next::Away(Duration::ZERO),
            955..960 => return Next::Away(Duration::from_millis(self.rng.u64(1_000..20_000))),
            _ => {}
        }
        Next::Stay
    }

    fn request(&mut self, connection: &Connection, mut frame: Value) -> u64 {
        self.next_request += 1;
        frame["id"] = self.next_request.into();
        let _ = connection.frames.try_send(frame.to_string());
        self.next_request
    }

    fn join(&mut self, connection: &Connection, room: &'static str, resumes: bool) {
        let Some(view) = self.rooms.get_mut(room) else { return };
        view.is_wanted = true;
        let from_earlier = !view.is_joined && self.rng.u32(..8) == 0;
        let position = view.earlier.as_ref().filter(|_| from_earlier).or(view.position.as_ref());
        let since = position.cloned().filter(|_| resumes);
        let mut frame = json!({ "type": "join", "roomId": room, "events": ["*"] });
        if let Some(Position { epoch, seq, event_id }) = &since {
            frame["since"] = json!({ "epoch": epoch, "seq": seq, "eventId": event_id });
        }
        let id = self.request(connection, frame);
        self.pending.insert(id, (Instant::now(), Pending::Join { room, since }));
    }

    fn leave(&mut self, connection: &Connection, room: &'static str) {
        let id = self.request(connection, json!({ "type": "leave", "roomId": room }));
        self.pending.insert(id, (Instant::now(), Pending::Leave { room }));
        if let Some(view) = self.rooms.get_mut(room) {
            view.is_wanted = false;
        }
    }

    /// Sends a new event, if the client is in the room.
    fn send(&mut self, connection: &Connection, room: &'static str) {
        self.next_text += 1;
        let text = format!("{}/{}", self.user, self.next_text);
        if self.rooms[room].is_joined {
            self.trigger(connection, Draft { room, text, not_before: Instant::now(), is_repeated: false });
        }
    }

    fn trigger(&mut self, connection: &Connection, draft: Draft) {
        let Draft { room, text, .. } = &draft;
        self.next_request += 1;
        let id = self.next_request;
        let frame = format!(
            r#"{{"type":"trigger","id":{id},"roomId":"{room}","event":"message","data":{{"text":"{text}"}},"key":"{text}"}}"#
        );
        let _ = connection.frames.try_send(frame);
        self.pending.insert(id, (Instant::now(), Pending::Trigger(draft)));
    }

    /// Tells the world where the client is.
    fn report(&self) {
        if self.world.is_active() {
            return;
        }
        let is_settled = self.unsent.is_empty() && self.pending.is_empty();
        let at = |view: &RoomView| view.position.clone().filter(|_| view.is_joined && view.is_wanted);
        let positions = self.rooms.iter().map(|(room, view)| (*room, at(view))).collect();
        let report = Report { is_settled, positions, members: self.members.clone() };
        self.world.reports.lock().insert(self.user.clone(), report);
    }
}
