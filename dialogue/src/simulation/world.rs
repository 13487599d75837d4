//! The world of a run: some nodes over one store, their clients, and what befalls them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::{
    spawn,
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{
    Acme, AcmeServer, DELETED_ROOM, ROOMS,
    client::{Client, Connection, Position},
    network::{Link, LinkFault},
    truth::{Trace, Truth},
};
use crate::{
    cluster::backplane::Local,
    identity::User,
    live::Outbox,
    observe::Source,
    session::{FrameOutcome, NewConnection, Session},
    store::{Order, Query, Store},
    wire::Encoding,
};

/// The state of a run.
pub(super) struct World {
    local: Local,
    nodes: Mutex<Vec<Node>>,
    pub(super) truth: Mutex<Truth>,
    /// Of each client: whether all its events are accepted, and its position in each room that it is in.
    pub(super) reports: Mutex<BTreeMap<String, Report>>,
    is_active: AtomicBool,
}

pub(super) type Report = (bool, BTreeMap<&'static str, Option<Position>>);

/// A node. Its server is `None` while it is down.
struct Node {
    server: Option<AcmeServer>,
    link: Link,
    connections: Vec<AbortHandle>,
}

const NODES: usize = 3;
/// The frames of a client that a node has not handled: more than a client sends in the time in which it is answered.
const MAX_FRAMES: usize = 4_000;
const USERS: [&str; 4] = ["ann", "bob", "cyd", "dan"];
/// A user who leaves when the trouble ends, so that no node may still count her.
const LEAVER: &str = "eve";
/// The time in which faults happen.
const TROUBLED_TIME: Duration = Duration::from_secs(40);
/// The time in which all is well again afterwards: longer than what nodes wait before they try again.
const SETTLE_TIME: Duration = Duration::from_secs(120);

impl World {
    pub(super) async fn run(seed: u64, trace: Trace) -> Truth {
        fastrand::seed(seed);
        let mut rng = Rng::with_seed(seed);
        let local = Local::new();
        let nodes = (0..NODES).map(|_| Node {
            server: None,
            link: Link::new(local.clone()),
            connections: Vec::new(),
        });
        let world = Arc::new(World {
            nodes: Mutex::new(nodes.collect()),
            local,
            truth: Mutex::new(Truth::new(trace)),
            reports: Mutex::default(),
            is_active: AtomicBool::new(true),
        });
        for node in 0..NODES {
            world.start(node).await;
        }
        // The tasks end with the runtime of the run.
        for user in USERS {
            spawn(Client::new(&world, user, rng.u64(..)).live());
        }
        let leaver = spawn(Client::new(&world, LEAVER, rng.u64(..)).live());
        let end = Instant::now() + TROUBLED_TIME;
        while Instant::now() < end {
            sleep(Duration::from_millis(rng.u64(500..6_000))).await;
            world.cause_trouble(&mut rng).await;
        }
        world.is_active.store(false, Ordering::Relaxed);
        leaver.abort();
        for node in 0..NODES {
            sleep(Duration::from_millis(rng.u64(0..5_000))).await;
            world.nodes.lock()[node].link.set_fault(None);
            world.start(node).await;
        }
        world.settle().await;
        std::mem::take(&mut *world.truth.lock())
    }

    pub(super) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }

    /// Starts a node that is down, unless its link is.
    async fn start(&self, node: usize) {
        if self.nodes.lock()[node].server.is_some() {
            return;
        }
        let link = Link::new(self.local.clone());
        let server = Acme::server().backplane(link.clone()).without_frame_limit().build().await;
        let server = server.expect("a store without faults can be opened");
        let mut nodes = self.nodes.lock();
        nodes[node] = Node { server: Some(server), link, connections: Vec::new() };
        drop(nodes);
        self.truth.lock().note(|| format!("node {node} starts"));
    }

    /// Ends a node without a word to anybody.
    fn kill(&self, node: usize) {
        let mut nodes = self.nodes.lock();
        nodes[node].link.set_fault(Some(LinkFault::Dead));
        nodes[node].connections.drain(..).for_each(|connection| connection.abort());
        nodes[node].server = None;
    }

    fn heal(&self) {
        self.nodes.lock().iter().for_each(|node| node.link.set_fault(None));
    }

    /// Lets something happen that a deployment has to bear.
    async fn cause_trouble(&self, rng: &mut Rng) {
        let node = rng.usize(..NODES);
        let fault = match rng.u32(..15) {
            0..2 => {
                self.truth.lock().note(|| format!("node {node} dies"));
                self.kill(node);
                None
            }
            2..4 => {
                for node in 0..NODES {
                    self.start(node).await;
                }
                None
            }
            4 | 13 | 14 => return self.fail_over(rng).await,
            12 => return self.delete_a_room(node).await,
            5 => Some(LinkFault::Refused),
            6 => Some(LinkFault::Silent),
            7 => Some(LinkFault::AnswersLost),
            8 => Some(LinkFault::Deaf),
            9 => Some(LinkFault::Slow),
            _ => {
                self.truth.lock().note(|| "all links heal".to_owned());
                return self.heal();
            }
        };
        self.truth.lock().counts.faults += 1;
        if let Some(fault) = fault {
            self.truth.lock().note(|| format!("the link of node {node} is {fault:?}"));
            self.nodes.lock()[node].link.set_fault(Some(fault));
        }
    }

    /// Another store takes over, which lacks what was written last.
    async fn fail_over(&self, rng: &mut Rng) {
        self.nodes.lock().iter().for_each(|node| node.link.set_fault(Some(LinkFault::Refused)));
        sleep(Duration::from_millis(rng.u64(10..3_000))).await;
        let mut truth = self.truth.lock();
        truth.counts.faults += 1;
        for room in ROOMS {
            let lost = self.local.lose_tail(room, rng.usize(..4));
            truth.note(|| {
                let lost: Vec<_> = lost.iter().map(|event| (event.seq, event.event_id.as_str())).collect();
                format!("{room} loses {lost:?}")
            });
            truth.lost(room, &lost);
        }
        drop(truth);
        self.heal();
    }

    /// The application deletes a room at one of its nodes.
    async fn delete_a_room(&self, node: usize) {
        let Some(server) = self.nodes.lock()[node].server.clone() else { return };
        let project = server.project(1);
        self.truth.lock().deleted(DELETED_ROOM);
        let deleted = project.delete().await;
        let mut truth = self.truth.lock();
        truth.deleted(DELETED_ROOM);
        truth.note(|| format!("node {node} deletes {DELETED_ROOM}: {deleted:?}"));
    }

    /// Connects a user to a node that is up.
    pub(super) async fn connect(&self, user: &str, rng: &mut Rng) -> Option<Connection> {
        let place = rng.usize(..NODES);
        let engine = self.nodes.lock()[place].server.as_ref()?.engine();
        let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, 1 << 20, None, Vec::new());
        let new = NewConnection { source: Source::WebSocket, address: None, parent: None };
        let mut session = Session::new(engine, Arc::clone(&outbox), new);
        let (frames, mut received) = mpsc::channel::<String>(MAX_FRAMES);
        let identity = User { id: user.into(), authenticated: None, anonymous_token: None, is_new: false };
        let task = spawn(async move {
            if session.identify(identity).await.is_err() {
                return;
            }
            while let Some(frame) = received.recv().await {
                if session.handle(&frame).await != FrameOutcome::Continue {
                    return;
                }
            }
        });
        self.nodes.lock()[place].connections.push(task.abort_handle());
        self.truth.lock().note(|| format!("{user} connects to {place}"));
        Some(Connection { outbox, frames, task, node: place })
    }

    /// Waits until all clients have everything, and compares that with the store.
    async fn settle(&self) {
        let end = Instant::now() + SETTLE_TIME;
        loop {
            sleep(Duration::from_secs(1)).await;
            let Some(missing) = self.missing().await else { break };
            if Instant::now() > end {
                self.truth.lock().violated(format!("in the end, {missing}"));
                break;
            }
        }
        for room in ROOMS {
            let log = self.log(room).await;
            self.truth.lock().compare(room, &log);
        }
    }

    /// Returns what isn't as it has to be in the end.
    async fn missing(&self) -> Option<String> {
        for room in ROOMS {
            let head = self.local.head(room).await.expect("a store in memory");
            let head =
                head.map(|head| (head.last.seq, head.last.event_id.as_str().to_owned())).unwrap_or_default();
            for user in USERS {
                let reports = self.reports.lock();
                let Some((is_settled, positions)) = reports.get(user) else {
                    return Some(format!("{user} is missing"));
                };
                if !is_settled {
                    return Some(format!("{user} has events that aren't accepted"));
                }
                let position = positions.get(room).cloned().flatten();
                if position.as_ref().map(|at| (at.seq, at.event_id.clone())) != Some(head.clone()) {
                    return Some(format!("{user} is at {position:?} in {room}, whose head is {head:?}"));
                }
            }
        }
        for node in 0..NODES {
            let server = self.nodes.lock()[node].server.clone();
            let Some(server) = server else { return Some(format!("node {node} is down")) };
            let members = server.chat().members().await;
            if members.as_deref().ok() != Some(&USERS.map(str::to_owned)) {
                return Some(format!("node {node} says that the members are {members:?}"));
            }
        }
        None
    }

    /// Returns the log of a room: number, id and text of each event.
    async fn log(&self, room: &str) -> Vec<(u64, String, String)> {
        let mut events = Vec::new();
        loop {
            let mut query = Query::new(Order::OldestFirst, 1_000);
            query.after = events.last().map(|(seq, ..): &(u64, String, String)| *seq);
            let page = self.local.read(room, query).await.expect("a store in memory");
            if page.events.is_empty() {
                return events;
            }
            events.extend(page.events.iter().map(|event| {
                let data: serde_json::Value = serde_json::from_slice(&event.data).expect("JSON");
                let text = data["text"].as_str().unwrap_or_default().to_owned();
                (event.seq, event.event_id.as_str().to_owned(), text)
            }));
        }
    }
}
