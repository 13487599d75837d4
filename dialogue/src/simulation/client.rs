//! A client of the simulation: it speaks the protocol as a well-behaved client does. It comes back to any node with its
//! positions, repeats unanswered events with their keys, and holds what it gets against the promises.

use std::{
    collections::{BTreeMap, VecDeque},
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

use super::{DELETED_ROOM, ROOMS, world::World};
use crate::live::Outbox;

/// A client with its memory, which outlives its connections.
pub(super) struct Client {
    world: Arc<World>,
    user: String,
    rng: Rng,
    rooms: BTreeMap<&'static str, RoomView>,
    /// The events that aren't accepted, oldest first.
    unsent: VecDeque<Draft>,
    next_text: u64,
    next_request: u64,
    /// Set while an event is sent and not answered.
    awaits_answer: bool,
}

/// What the client has of a room.
#[derive(Debug, Default, Clone)]
struct RoomView {
    /// Whether the client wants to be in it.
    is_wanted: bool,
    is_joined: bool,
    position: Option<Position>,
    /// A position that the client had before, and from which it resumes now and then, as one that was not saved since.
    earlier: Option<Position>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) epoch: String,
    pub(super) seq: u64,
    pub(super) event_id: String,
}

#[derive(Debug, Clone)]
struct Draft {
    room: &'static str,
    text: String,
    /// When it may be sent again.
    not_before: Instant,
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
enum Pending {
    Join { room: &'static str, since: Option<Position> },
    Trigger(Draft),
    Leave { room: &'static str },
}

/// How long a request may take at most: longer than each timeout of the server.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(40);

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
            next_text: 0,
            next_request: 0,
            awaits_answer: false,
        }
    }

    /// Lives until the world ends.
    pub(super) async fn live(mut self) {
        loop {
            self.rooms.values_mut().for_each(|view| view.is_joined = false);
            self.report();
            match self.world.connect(&self.user, &mut self.rng).await {
                Some(connection) => self.converse(connection).await,
                None => sleep(Duration::from_millis(self.rng.u64(50..500))).await,
            }
        }
    }

    /// Uses a connection until it ends.
    async fn converse(&mut self, mut connection: Connection) {
        let mut pending = BTreeMap::<u64, (Instant, Pending)>::new();
        let mut act_at = Instant::now();
        let mut received = Vec::new();
        loop {
            received.clear();
            let outbox = &connection.outbox;
            let taken = poll_fn(|cx| match outbox.poll_take(cx, usize::MAX, &mut received) {
                Poll::Ready(taken) => Poll::Ready(taken.is_ok()),
                Poll::Pending => Poll::Pending,
            });
            select! {
                biased;
                is_open = taken => {
                    let text = String::from_utf8(received.concat()).expect("text");
                    for line in text.lines() {
                        if let Some(frame) = line.strip_prefix("data: ") {
                            self.receive(&serde_json::from_str(frame).expect("JSON"), &mut pending);
                        }
                    }
                    self.note_pending(&pending);
                    if !is_open {
                        break;
                    }
                }
                _ = &mut connection.task => break,
                () = sleep_until(act_at) => {
                    if let Some((_, (_, unanswered))) = pending.iter().find(|(_, (asked, _))| asked.elapsed() > MAX_ANSWER_TIME) {
                        let (user, node) = (&self.user, connection.node);
                        self.world.truth.lock().violated(format!("{user} gets no answer of node {node} to {unanswered:?}"));
                        break;
                    }
                    let goes_on = self.act(&connection, &mut pending);
                    self.note_pending(&pending);
                    if !goes_on {
                        break;
                    }
                    act_at = Instant::now() + Duration::from_millis(self.rng.u64(20..400));
                }
            }
        }
        let (user, node) = (&self.user, connection.node);
        self.world.truth.lock().note(|| format!("{user} is no more connected to {node}"));
        connection.task.abort();
        for (_, (_, pending)) in pending {
            if let Pending::Trigger(draft) = pending {
                self.unsent.push_back(draft);
            }
        }
        self.awaits_answer = false;
    }

    fn note_pending(&mut self, pending: &BTreeMap<u64, (Instant, Pending)>) {
        let awaits = |(_, pending): &(Instant, Pending)| matches!(pending, Pending::Trigger(_));
        self.awaits_answer = pending.values().any(awaits);
        self.report();
    }

    /// Does one thing; returns `false` if that is to disconnect.
    fn act(&mut self, connection: &Connection, pending: &mut BTreeMap<u64, (Instant, Pending)>) -> bool {
        let is_active = self.world.is_active();
        for room in ROOMS {
            let is_asked = pending.values().any(|(_, pending)| match pending {
                Pending::Join { room: other, .. } | Pending::Leave { room: other } => *other == room,
                Pending::Trigger(_) => false,
            });
            let view = &self.rooms[room];
            if view.is_wanted && !view.is_joined && !is_asked {
                self.join(connection, pending, room, true);
                return true;
            }
        }
        let now = Instant::now();
        if let Some(at) =
            self.unsent.iter().position(|draft| draft.not_before <= now && self.rooms[draft.room].is_joined)
            && let Some(draft) = self.unsent.remove(at)
        {
            self.trigger(connection, pending, draft);
            return true;
        }
        if !is_active {
            self.rooms.values_mut().for_each(|view| view.is_wanted = true);
            return true;
        }
        let room = ROOMS[self.rng.usize(..ROOMS.len())];
        match self.rng.u32(..100) {
            0..70 => {
                self.next_text += 1;
                let text = format!("{}/{}", self.user, self.next_text);
                if self.rooms[room].is_joined {
                    self.trigger(connection, pending, Draft { room, text, not_before: now });
                }
            }
            70..80 => {
                let typing = json!({ "type": "trigger", "roomId": "chat", "event": "typing", "data": { "active": true } });
                let _ = connection.frames.try_send(typing.to_string());
            }
            80..85 => {
                let resumes = self.rng.bool();
                self.join(connection, pending, room, resumes);
            }
            85..88 => {
                let id = self.request(connection, json!({ "type": "leave", "roomId": room }));
                pending.insert(id, (now, Pending::Leave { room }));
                if let Some(view) = self.rooms.get_mut(room) {
                    view.is_wanted = false;
                }
            }
            88..93 => self.rooms.values_mut().for_each(|view| view.is_wanted = true),
            93..96 => return false,
            _ => {}
        }
        true
    }

    fn request(&mut self, connection: &Connection, mut frame: Value) -> u64 {
        self.next_request += 1;
        frame["id"] = self.next_request.into();
        let _ = connection.frames.try_send(frame.to_string());
        self.next_request
    }

    fn join(
        &mut self,
        connection: &Connection,
        pending: &mut BTreeMap<u64, (Instant, Pending)>,
        room: &'static str,
        resumes: bool,
    ) {
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
        pending.insert(id, (Instant::now(), Pending::Join { room, since }));
    }

    fn trigger(
        &mut self,
        connection: &Connection,
        pending: &mut BTreeMap<u64, (Instant, Pending)>,
        draft: Draft,
    ) {
        let Draft { room, text, .. } = &draft;
        let frame = json!({
            "type": "trigger", "roomId": room, "event": "message", "data": { "text": text }, "key": text,
        });
        let id = self.request(connection, frame);
        pending.insert(id, (Instant::now(), Pending::Trigger(draft)));
    }

    fn receive(&mut self, frame: &Value, pending: &mut BTreeMap<u64, (Instant, Pending)>) {
        self.world.truth.lock().note_frame(&self.user, frame);
        let answered = frame["id"].as_u64().map(|id| (id, pending.remove(&id)));
        if let Some((id, None)) = &answered {
            self.world.truth.lock().violated(format!("{} gets a second answer to {id}: {frame}", self.user));
            return;
        }
        let asked = answered.and_then(|(_, asked)| asked).map(|(_, asked)| asked);
        match frame["type"].as_str() {
            Some("ok") => {
                if let Some(Pending::Trigger(draft)) = asked {
                    let (seq, event_id) = (number(&frame["seq"]), text(&frame["eventId"]));
                    self.world.truth.lock().accepted(draft.room, &draft.text, seq, &event_id);
                }
            }
            Some("error") => self.refused(frame, asked),
            Some("joined") => self.joined(frame, asked),
            Some("event") => self.event(frame),
            Some("left") => {
                if let Some(view) = frame["roomId"].as_str().and_then(|room| self.rooms.get_mut(room)) {
                    view.is_joined = false;
                }
            }
            _ => {}
        }
    }

    fn refused(&mut self, frame: &Value, asked: Option<Pending>) {
        let mut truth = self.world.truth.lock();
        truth.counts.refused += 1;
        match asked {
            Some(Pending::Trigger(mut draft)) => {
                let is_expected = match frame["code"].as_str() {
                    Some("ROOM_NOT_FOUND") => draft.room == DELETED_ROOM,
                    code => matches!(code, Some("UNAVAILABLE" | "NOT_IN_ROOM")),
                };
                if !is_expected {
                    truth.violated(format!("{} gets {frame} for {}", self.user, draft.text));
                }
                draft.not_before = Instant::now() + Duration::from_millis(self.rng.u64(100..1_000));
                self.unsent.push_back(draft);
            }
            Some(Pending::Join { room, since }) => match frame["code"].as_str() {
                Some("UNAVAILABLE") => {}
                // The position is in an instance that was deleted.
                Some("ROOM_NOT_FOUND") if room == DELETED_ROOM && since.is_some() => {
                    if let Some(view) = self.rooms.get_mut(room) {
                        view.position = None;
                    }
                }
                _ => truth.violated(format!("{} gets {frame} for a join", self.user)),
            },
            Some(Pending::Leave { .. }) | None => {}
        }
    }

    fn joined(&mut self, frame: &Value, asked: Option<Pending>) {
        let mut truth = self.world.truth.lock();
        let (room, since) = match asked {
            Some(Pending::Join { room, since }) => (room, since),
            // The room lost its log, and its members moved to its next instance.
            None if frame["resume"] == "lost" => match known_room(frame) {
                Some(room) => (room, None),
                None => return,
            },
            _ => return truth.violated(format!("{} gets {frame}, which nobody asked for", self.user)),
        };
        let head = Position {
            epoch: text(&frame["epoch"]),
            seq: number(&frame["seq"]),
            event_id: text(&frame["eventId"]),
        };
        let Some(view) = self.rooms.get_mut(room) else { return };
        let is_again = view.is_joined && since.is_none() && frame["resume"] == "fresh";
        view.is_joined = true;
        match (frame["resume"].as_str(), since) {
            (Some("complete"), Some(since)) => {
                truth.counts.complete += 1;
                let replay = number(&frame["replay"]);
                if since.epoch != head.epoch || since.seq + replay != head.seq {
                    truth.violated(format!("{} resumes from {since:?} by {frame}", self.user));
                }
                view.position = Some(since);
            }
            (Some("lost"), _) => {
                truth.counts.lost += 1;
                view.position = Some(head);
            }
            (Some("fresh"), None) => {
                // A second join replays nothing: the client has all up to the head, or gets it before.
                let is_same = |at: &Position| at.epoch != head.epoch || *at == head;
                if is_again && !view.position.as_ref().is_some_and(is_same) {
                    truth.violated(format!("{} joined again at {:?} by {frame}", self.user, view.position));
                }
                view.position = Some(head);
            }
            (resume, since) => {
                truth.violated(format!("{} joins with {since:?}, and gets {resume:?}", self.user))
            }
        }
    }

    fn event(&mut self, frame: &Value) {
        let mut truth = self.world.truth.lock();
        let Some(room) = known_room(frame) else { return };
        let Some(view) = self.rooms.get_mut(room) else { return };
        let Some(position) = view.position.as_mut().filter(|_| view.is_joined) else {
            return truth.violated(format!("{} is in no {room}, and gets {frame}", self.user));
        };
        let Some(seq) = frame["seq"].as_u64() else { return };
        if seq != position.seq + 1 {
            truth.violated(format!("{} is at {position:?}, and gets {frame}", self.user));
        }
        let event_id = text(&frame["eventId"]);
        if truth.is_lost(room, &position.event_id) && !truth.is_lost(room, &event_id) {
            truth.violated(format!("{} goes on after the lost {position:?} by {frame}", self.user));
        }
        (position.seq, position.event_id) = (seq, event_id);
        if self.rng.u32(..60) == 0 {
            view.earlier = Some(position.clone());
        }
        truth.received(room, &position.epoch, seq, &position.event_id, &text(&frame["data"]["text"]));
    }

    /// Tells the world where the client is.
    fn report(&self) {
        let is_settled = self.unsent.is_empty() && !self.awaits_answer;
        let positions = self
            .rooms
            .iter()
            .map(|(room, view)| (*room, view.position.clone().filter(|_| view.is_joined && view.is_wanted)));
        self.world.reports.lock().insert(self.user.clone(), (is_settled, positions.collect()));
    }
}

fn known_room(frame: &Value) -> Option<&'static str> {
    ROOMS.into_iter().find(|room| frame["roomId"] == *room)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
