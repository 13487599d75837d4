//! One connection that listens to channels of one server.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    Failure,
    backoff::Backoff,
    condition::Condition,
    dial::{Dialer, Dialled, Pushes},
    link::{HEARTBEAT, STEADY},
    place::Place,
    reply::text,
};

/// What is heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// From now on, nothing said in the channel is missed until it is heard again that this begins; but for what Redis
    /// itself loses, as a primary may that doesn't know yet that it is a replica.
    Listening(String),
    Message(String, Bytes),
}

/// Takes what is heard; it must not wait.
pub(crate) type Sink = Arc<dyn Fn(Heard) + Send + Sync>;

/// The channels that should be listened to at a server.
pub(super) type Wanted = Box<dyn Fn() -> Vec<Arc<str>> + Send + Sync>;

/// Listens to channels of one server until it is dropped, over a connection that is made again whenever it breaks. Each
/// time, every channel says first that it is being listened to.
pub(super) struct Ear {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    place: Place,
    dialer: Arc<Dialer>,
    wanted: Wanted,
    sink: Sink,
    /// Channels to listen to (`true`) or to leave.
    orders: Mutex<HashMap<Arc<str>, bool>>,
    ordered: Notify,
    /// Those that we left or are about to: the server says so, and so it does of those that it takes from us.
    left: Mutex<HashSet<String>>,
    condition: Condition,
    /// Told when a channel is elsewhere.
    elsewhere: Box<dyn Fn() + Send + Sync>,
}

/// Channels of one write.
const AT_ONCE: usize = 256;

impl Ear {
    pub(super) fn begin(
        place: Place,
        dialer: Arc<Dialer>,
        wanted: Wanted,
        sink: Sink,
        elsewhere: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            condition: Condition::new(format!("Redis at {place}"), "subscriptions"),
            place,
            dialer,
            wanted,
            sink,
            orders: Mutex::default(),
            ordered: Notify::new(),
            left: Mutex::default(),
            elsewhere: Box::new(elsewhere),
        });
        let task = tokio::spawn(Arc::clone(&shared).reconnect()).abort_handle();
        Ear { shared, task }
    }

    /// Listens to `channel` from now on, or no longer; what is wanted must say so already.
    pub(super) fn order(&self, channel: Arc<str>, listen: bool) {
        self.shared.orders.lock().insert(channel, listen);
        self.shared.ordered.notify_one();
    }

    /// Listens to everything that is wanted of it.
    pub(super) fn refresh(&self) {
        let wanted = (self.shared.wanted)();
        self.shared.orders.lock().extend(wanted.into_iter().map(|channel| (channel, true)));
        self.shared.ordered.notify_one();
    }

    pub(super) fn condition(&self) -> &Condition {
        &self.shared.condition
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn reconnect(self: Arc<Self>) {
        let mut backoff = Backoff::new();
        loop {
            let (breaks, mut broken) = mpsc::channel(1);
            let shared = Arc::clone(&self);
            let hears: Pushes = Arc::new(move |push| shared.hear(push, &breaks));
            // That the server can't be reached is for the link to it to tell.
            match self.place.dial(&self.dialer, Some(hears)).await {
                Ok(dialled) => {
                    let began = Instant::now();
                    self.serve(dialled, &mut broken).await;
                    if began.elapsed() >= STEADY {
                        backoff = Backoff::new();
                    }
                }
                Err(error) => tracing::debug!("can't listen to Redis at {}: {error}", self.place),
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Listens until the connection breaks.
    async fn serve(&self, dialled: Dialled, broken: &mut mpsc::Receiver<()>) {
        let Dialled { commands, driver, .. } = dialled;
        tokio::select! {
            () = driver => {}
            _ = broken.recv() => {}
            () = self.follow_orders(commands) => {}
        }
    }

    /// Returns when the server falls silent.
    async fn follow_orders(&self, mut commands: MultiplexedConnection) {
        self.left.lock().clear();
        {
            let mut orders = self.orders.lock();
            orders.clear();
            orders.extend((self.wanted)().into_iter().map(|channel| (channel, true)));
        }
        loop {
            let orders: Vec<_> = mem::take(&mut *self.orders.lock()).into_iter().collect();
            let mut refused = false;
            for some in orders.chunks(AT_ONCE) {
                match self.send(&mut commands, some).await {
                    Ok(all) => refused |= !all,
                    Err(_) => return,
                }
            }
            if refused {
                // Before it is tried again.
                sleep(HEARTBEAT).await;
            } else if orders.is_empty() && timeout(HEARTBEAT, self.ordered.notified()).await.is_err() {
                let alive = commands.send_packed_command(&redis::cmd("PING")).await;
                if alive.is_err_and(|error| error.is_timeout()) {
                    return;
                }
            }
        }
    }

    /// Sends some orders; yields whether all were taken. Those that weren't are to be sent again.
    async fn send(
        &self,
        commands: &mut MultiplexedConnection,
        orders: &[(Arc<str>, bool)],
    ) -> Result<bool, redis::RedisError> {
        let mut pipeline = Pipeline::with_capacity(orders.len());
        for (channel, listen) in orders {
            if *listen {
                self.left.lock().remove(&**channel);
            } else {
                self.left.lock().insert(channel.to_string());
            }
            pipeline.cmd(if *listen { "SSUBSCRIBE" } else { "SUNSUBSCRIBE" }).arg(&**channel);
        }
        let answers = commands.send_packed_commands(&pipeline, 0, orders.len()).await?;
        let refused: Vec<_> = orders
            .iter()
            .zip(&answers)
            .filter_map(|(order, answer)| match answer {
                Value::ServerError(error) => Some((order, Failure::refused(error))),
                _ => None,
            })
            .collect();
        if refused.is_empty() {
            self.condition.accepts();
            return Ok(true);
        }
        let wanted: HashSet<_> = (self.wanted)().into_iter().collect();
        for ((channel, listen), failure) in refused {
            if matches!(failure.code(), Some("MOVED" | "CLUSTERDOWN")) {
                (self.elsewhere)();
            } else {
                self.condition.refuses(failure.code().unwrap_or_default(), &failure.to_string());
            }
            // Unless somebody wants something else of it by now, or it belongs elsewhere.
            if wanted.contains(channel) == *listen {
                self.orders.lock().entry(Arc::clone(channel)).or_insert(*listen);
            }
        }
        Ok(false)
    }

    fn hear(&self, push: PushInfo, breaks: &mpsc::Sender<()>) {
        let mut data = push.data.into_iter();
        let Some(channel) = data.next().as_ref().and_then(text).map(str::to_owned) else { return };
        match push.kind {
            PushKind::SMessage => {
                if let Some(Value::BulkString(payload)) = data.next() {
                    (self.sink)(Heard::Message(channel, payload.into()));
                }
            }
            PushKind::SSubscribe => (self.sink)(Heard::Listening(channel)),
            // The slot went elsewhere, and the answers that we wait for are out of step.
            PushKind::SUnsubscribe if !self.left.lock().remove(&channel) => {
                (self.elsewhere)();
                let _ = breaks.try_send(());
            }
            _ => {}
        }
    }
}
