//! What all channels of a server share.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{
    Code, Refusal,
    gate::AnyRoom,
    hub::{ConnectionId, Outbox, Registry, RoomDecl, not_found},
    identity::Identity,
};

/// The rooms, who may use them, and how much of anything.
pub(crate) struct Engine {
    pub(crate) registry: Arc<Registry>,
    pub(crate) gates: Vec<Arc<dyn AnyRoom>>,
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) origins: Origins,
    /// The hash of the declared rooms and events.
    pub(crate) schema: String,
    pub(crate) drain: Drain,
    watchers: Mutex<HashMap<ConnectionId, Arc<Outbox>>>,
    next_connection: AtomicU64,
}

/// Bounds, each with a default that is safe in production.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes of a frame that a client sends, and of an HTTP body.
    pub(crate) frame: usize,
    /// Bytes that wait for a connection which reads too slowly, before it is cut.
    pub(crate) outbox: usize,
    /// Rooms that a connection is in.
    pub(crate) rooms: usize,
    /// Between two pings to a silent socket.
    pub(crate) ping_every: Duration,
    /// How long a socket may then go on being silent.
    pub(crate) pong_within: Duration,
    /// How long draining takes at most.
    pub(crate) drain: Duration,
}

/// From which pages browsers may connect.
#[derive(Debug, Clone, Default)]
pub(crate) enum Origins {
    /// Those that this server served.
    #[default]
    Same,
    /// These, such as `https://example.com`, and those that this server served.
    These(Vec<String>),
    /// All.
    Any,
}

/// Whether the instance is going, and who is still on it.
pub(crate) struct Drain {
    state: watch::Sender<bool>,
    connections: AtomicUsize,
    left: Notify,
}

/// Counts one connection for as long as it lives.
pub(crate) struct Counted(Arc<Engine>);

/// Over how long those who are sent away come back.
const SPREAD_MS: u64 = 3_000;

impl Engine {
    pub(crate) fn new(
        registry: Arc<Registry>,
        gates: Vec<Arc<dyn AnyRoom>>,
        identity: Identity,
        limits: Limits,
        origins: Origins,
        schema: String,
    ) -> Arc<Self> {
        Arc::new(Engine {
            registry,
            gates,
            identity,
            limits,
            origins,
            schema,
            drain: Drain {
                state: watch::Sender::new(false),
                connections: AtomicUsize::new(0),
                left: Notify::new(),
            },
            watchers: Mutex::default(),
            next_connection: AtomicU64::new(1),
        })
    }

    /// A room by its id, and what guards it; checks that its key is one.
    pub(crate) fn room(&self, room_id: &str) -> Result<(&Arc<RoomDecl>, &Arc<dyn AnyRoom>), Refusal> {
        const LONGEST_KEY: usize = 128;
        let (room, key) = self.registry.declared(room_id)?;
        let bad = key.is_some_and(|key| key.len() > LONGEST_KEY || key.chars().any(char::is_control));
        let gate = self.gates.get(room.index).filter(|gate| !bad && gate.is_key(key));
        gate.map(|gate| (room, gate)).ok_or_else(|| not_found(room_id))
    }

    pub(crate) fn connection_id(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// Counts a connection; refuses it while the instance drains.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Counted, Refusal> {
        self.drain.connections.fetch_add(1, Ordering::AcqRel);
        let counted = Counted(Arc::clone(self));
        if self.drain.is_on() {
            return Err(draining());
        }
        Ok(counted)
    }

    /// From now on, `outbox` is told of rooms that come and go.
    pub(crate) fn watch(&self, outbox: &Arc<Outbox>) {
        self.watchers.lock().insert(outbox.id(), Arc::clone(outbox));
    }

    pub(crate) fn unwatch(&self, connection: ConnectionId) {
        self.watchers.lock().remove(&connection);
    }

    /// Tells those who watch.
    pub(crate) fn announce(&self, kind: &'static str, json: &[u8]) {
        // Sending never waits; watchers are few beside members.
        for outbox in self.watchers.lock().values() {
            outbox.send(kind, json);
        }
    }
}

impl Drain {
    pub(crate) fn is_on(&self) -> bool {
        *self.state.borrow()
    }

    /// Sends everybody away.
    pub(crate) fn start(&self) {
        self.state.send_replace(true);
    }

    /// Waits until draining starts.
    pub(crate) fn started(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut state = self.state.subscribe();
        async move {
            // The engine, which has the sender, outlives whoever waits.
            let _ = state.wait_for(|on| *on).await.map(drop);
        }
    }

    /// Waits until nobody is left.
    pub(crate) async fn finished(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.connections.load(Ordering::Acquire) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.drain.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.drain.left.notify_waiters();
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame: 64 << 10,
            outbox: 1 << 20,
            rooms: 256,
            ping_every: Duration::from_secs(25),
            pong_within: Duration::from_secs(20),
            drain: Duration::from_secs(15),
        }
    }
}

impl Origins {
    /// Whether a page of `origin` may talk to a server that it calls `host`.
    pub(crate) fn allow(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        let same = origin.split_once("://").is_some_and(|(_, own)| Some(own) == host);
        match self {
            Origins::Same => same,
            Origins::These(listed) => same || listed.iter().any(|allowed| allowed == origin),
            Origins::Any => true,
        }
    }
}

/// When one of those who are sent away comes back: spread, so that the others aren't overrun.
pub(crate) fn spread_ms() -> u64 {
    fastrand::u64(..SPREAD_MS)
}

/// What newcomers are told while the instance drains.
pub(crate) fn draining() -> Refusal {
    Refusal::new(Code::Unavailable, "this instance is going down; try another, or again in a moment")
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("schema", &self.schema).finish_non_exhaustive()
    }
}
