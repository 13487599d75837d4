//! The world of a run: some nodes over one store, their clients, and what befalls them.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    application::{Acme, AcmeServer},
    client::{Client, Connection},
    frame::Position,
    network::Link,
    plan::Plan,
    shared_store::SharedStore,
    truth::{Trace, Truth},
};
use crate::{
    identity::User,
    live::Outbox,
    observe::Source,
    session::{FrameOutcome, NewConnection, Session},
    wire::Encoding,
};

/// The state of a run.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) store: SharedStore,
    pub(super) nodes: Mutex<Vec<Node>>,
    pub(super) truth: Mutex<Truth>,
    /// What each client said last.
    pub(super) reports: Mutex<BTreeMap<String, Report>>,
    is_active: AtomicBool,
}

/// Where a client is.
pub(super) struct Report {
    /// Whether all its events are accepted.
    pub(super) is_settled: bool,
    /// Its position in each room that it is in.
    pub(super) positions: BTreeMap<&'static str, Option<Position>>,
    /// The members of the chat, as it was told.
    pub(super) members: BTreeSet<String>,
}

/// A node. Its server is `None` while it is down.
pub(super) struct Node {
    pub(super) server: Option<AcmeServer>,
    pub(super) link: Link,
    pub(super) connections: Vec<AbortHandle>,
}

pub(super) const NODES: usize = 3;
/// The frames of a client that a node has not handled: more than a client sends in the time in which it is answered.
const MAX_FRAMES: usize = 4_000;
pub(super) const USERS: [&str; 4] = ["ann", "bob", "cyd", "dan"];
/// A user who leaves when the trouble ends, so that no node may still count her.
const LEAVER: &str = "eve";

impl World {
    pub(super) async fn run(plan: Plan, seed: u64, trace: Trace) -> Truth {
        fastrand::seed(seed);
        let mut rng = Rng::with_seed(seed);
        let store = SharedStore::new();
        let nodes = (0..NODES).map(|_| Node {
            server: None,
            link: Link::new(store.clone(), plan.loss),
            connections: Vec::new(),
        });
        let world = Arc::new(World {
            nodes: Mutex::new(nodes.collect()),
            plan,
            store,
            truth: Mutex::new(Truth::new(trace)),
            reports: Mutex::default(),
            is_active: AtomicBool::new(true),
        });
        world.truth.lock().note(|| format!("{:?}", world.plan));
        for node in 0..NODES {
            world.start(node).await;
        }
        // The tasks end with the runtime of the run.
        for user in USERS {
            spawn(Client::new(&world, user, rng.u64(..)).live());
        }
        let leaver = spawn(Client::new(&world, LEAVER, rng.u64(..)).live());
        let end = Instant::now() + world.plan.troubled_time;
        while Instant::now() < end {
            sleep(Duration::from_millis(rng.u64(300..6_000))).await;
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

    /// Starts a node that is down.
    pub(super) async fn start(&self, node: usize) {
        if self.nodes.lock()[node].server.is_some() {
            return;
        }
        let link = Link::new(self.store.clone(), self.plan.loss);
        let server = Acme::server().backplane(link.clone()).without_frame_limit().build().await;
        let server = server.expect("a store without faults can be opened");
        let mut nodes = self.nodes.lock();
        nodes[node] = Node { server: Some(server), link, connections: Vec::new() };
        drop(nodes);
        self.truth.lock().note(|| format!("node {node} starts"));
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
}
