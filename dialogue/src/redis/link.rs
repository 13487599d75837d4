//! One server, connected without end.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{Pipeline, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    Failure, RedisError,
    backoff::Backoff,
    condition::Condition,
    dial::{Dialer, Dialled},
    eviction::Eviction,
    place::Place,
};

/// A connection to one server, made again whenever it breaks, until this is dropped.
///
/// While there is none, commands fail at once; in the moment after a connection broke they wait for the first attempt
/// to make a new one.
pub(super) struct Link {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    place: Place,
    dialer: Arc<Dialer>,
    state: watch::Sender<State>,
    condition: Condition,
    eviction: Eviction,
    /// A key of the server, while that refuses writes: whether it takes them again is tried there.
    probe: Mutex<Option<String>>,
}

#[derive(Clone)]
enum State {
    /// The first attempt is under way.
    Opening,
    Open(Open),
    Closed(Arc<str>),
}

#[derive(Clone)]
struct Open {
    commands: MultiplexedConnection,
    /// Takes why the connection is of no more use.
    broken: mpsc::Sender<String>,
}

/// From one sign of life that a server is asked for to the next.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);
/// What a connection has to hold for the next break to be the first.
pub(super) const STEADY: Duration = Duration::from_secs(10);

impl Link {
    /// Connects; an error is that of the first attempt.
    pub(super) async fn open(place: Place, dialer: Arc<Dialer>) -> Result<Self, RedisError> {
        let first = place.dial(&dialer, None).await?;
        Ok(Link::keep(place, dialer, Some(first)))
    }

    /// Begins to connect.
    pub(super) fn begin(place: Place, dialer: Arc<Dialer>) -> Self {
        Link::keep(place, dialer, None)
    }

    fn keep(place: Place, dialer: Arc<Dialer>, first: Option<Dialled>) -> Self {
        let condition = Condition::new(format!("Redis at {place}"), "writes");
        let (state, _) = watch::channel(State::Opening);
        let (eviction, probe) = (Eviction::default(), Mutex::default());
        let shared = Arc::new(Shared { place, dialer, state, condition, eviction, probe });
        let task = tokio::spawn(Arc::clone(&shared).reconnect(first)).abort_handle();
        Link { shared, task }
    }

    /// Sends commands, and waits for what each is answered with.
    ///
    /// Cancel safe, but for the commands: they may be executed or not.
    pub(super) async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let mut open = self.shared.connection().await?;
        match open.commands.send_packed_commands(commands, 0, commands.len()).await {
            Ok(answers) if answers.len() == commands.len() => Ok(answers),
            Ok(_) => {
                Err(self.lost(&open, "it answered with fewer replies than there were commands".to_owned()))
            }
            Err(error) if error.is_timeout() => {
                let within = self.shared.dialer.answer_within;
                Err(self.lost(&open, format!("it did not answer within {within:?}")))
            }
            Err(error) => Err(self.lost(&open, format!("the connection broke: {error}"))),
        }
    }

    /// Gives the connection up, for one to the server that is in its place now.
    pub(super) fn renew(&self, why: &str) {
        if let State::Open(open) = &*self.shared.state.borrow() {
            // It may know already.
            let _ = open.broken.try_send(why.to_owned());
        }
    }

    /// Takes note that the server refused a write to `key`; it is tried until the server takes it.
    pub(super) fn refused(&self, failure: &Failure, key: &str) {
        *self.shared.probe.lock() = Some(format!("{key}:probe"));
        self.shared.condition.refuses(failure.code().unwrap_or_default(), &failure.to_string());
    }

    pub(super) fn place(&self) -> &Place {
        &self.shared.place
    }

    pub(super) fn dialer(&self) -> &Arc<Dialer> {
        &self.shared.dialer
    }

    pub(super) fn condition(&self) -> &Condition {
        &self.shared.condition
    }

    /// Whether there is a connection now.
    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.shared.state.borrow(), State::Open(_))
    }

    fn lost(&self, open: &Open, why: String) -> Failure {
        let failure = Failure::Lost(format!("Redis at {}: {why}", self.shared.place).into());
        let _ = open.broken.try_send(why);
        failure
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn connection(&self) -> Result<Open, Failure> {
        let mut states = self.state.subscribe();
        let known =
            timeout(self.dialer.connect_within, states.wait_for(|state| !matches!(state, State::Opening)));
        match known.await.as_ref().map(|state| state.as_deref()) {
            Ok(Ok(State::Open(open))) => Ok(open.clone()),
            Ok(Ok(State::Closed(why))) => Err(Failure::Unreachable(Arc::clone(why))),
            _ => Err(Failure::Unreachable(
                format!("Redis at {}: there is no connection yet", self.place).into(),
            )),
        }
    }

    async fn reconnect(self: Arc<Self>, mut first: Option<Dialled>) {
        let mut backoff = Backoff::new();
        loop {
            let dialled = match first.take() {
                Some(dialled) => Ok(dialled),
                None => self.place.dial(&self.dialer, None).await,
            };
            match dialled {
                Ok(dialled) => {
                    let began = Instant::now();
                    self.condition.reached();
                    let why = self.serve(dialled).await;
                    self.condition.unreachable(&why);
                    if began.elapsed() >= STEADY {
                        backoff = Backoff::new();
                    }
                    self.state.send_replace(State::Opening);
                }
                Err(error) => {
                    self.condition.unreachable(&error.to_string());
                    self.state.send_replace(State::Closed(error.to_string().into()));
                }
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Lets commands through until the connection breaks; yields why it did.
    async fn serve(&self, dialled: Dialled) -> String {
        let Dialled { commands, driver, .. } = dialled;
        let (broken, mut breaks) = mpsc::channel(1);
        self.state.send_replace(State::Open(Open { commands: commands.clone(), broken }));
        tokio::select! {
            () = driver => "the connection was closed".to_owned(),
            why = breaks.recv() => why.unwrap_or_default(),
            () = self.listen(commands) => {
                format!("it gave no sign of life within {:?}", self.dialer.answer_within)
            }
        }
    }

    /// Returns when the server has fallen silent.
    async fn listen(&self, mut commands: MultiplexedConnection) {
        self.eviction.look(&self.place, &mut commands).await;
        loop {
            sleep(HEARTBEAT).await;
            let probe = self.probe.lock().clone();
            let mut beat = redis::cmd(if probe.is_some() { "SET" } else { "PING" });
            if let Some(key) = &probe {
                beat.arg(key).arg("").arg("PX").arg(1);
            }
            match commands.send_packed_command(&beat).await {
                // A broken connection ends its driver.
                Err(error) if error.is_timeout() => return,
                Ok(Value::Okay) if probe.is_some() => {
                    *self.probe.lock() = None;
                    self.condition.accepts();
                }
                _ => {}
            }
        }
    }
}
