//! One provider's queue: rounds walk over its devices in turn, so that a big room doesn't keep a small one waiting.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    chain::{Chain, Ended},
    complaints::Complaints,
    counts::Counts,
    departures::Departures,
    devices::{Devices, Entry},
    pending::Pending,
    provider::AnyProvider,
    retained::Retained,
    round::Round,
    slots::Slots,
    waiting::Waiting,
};
use crate::{hooks::AnyHooks, store::StoreError, user_connections::UserConnections};

/// What all lanes need.
pub(super) struct Shared {
    pub(super) devices: Devices,
    pub(super) directory: Arc<UserConnections>,
    pub(super) departures: Departures,
    pub(super) complaints: Complaints,
    /// Where the store outlives the process.
    pub(super) pending: Option<Pending>,
    /// The application's say on who still gets pushes.
    pub(super) hooks: Option<Arc<dyn AnyHooks>>,
    /// The memory of events that only retries hold.
    pub(super) retained: Arc<Retained>,
    /// Nothing more is begun: the process is about to end, and another goes on.
    pub(super) stopping: AtomicBool,
    /// Tries that are under way.
    pub(super) trying: AtomicUsize,
}

pub(super) struct Lane {
    shared: Arc<Shared>,
    provider: Arc<dyn AnyProvider>,
    counts: Arc<Counts>,
    arriving: mpsc::Receiver<Task>,
    walks: VecDeque<Walk>,
    /// Those that are at their end, while tries of theirs are under way.
    ending: Vec<Walk>,
    waiting: Waiting,
    trying: JoinSet<(Chain, Ended, Option<Arc<Open>>)>,
    /// Tries of those that are no first ones.
    retrying: Arc<AtomicUsize>,
    /// The last that was begun was one of them.
    retried: bool,
    slots: Arc<Slots>,
    /// Nothing is begun before that.
    paused: Instant,
    /// Times that the provider said "too much" since it took something: until it does, one send at a time probes it.
    throttled: u32,
}

/// Counts one try that is no first one for as long as it lives.
struct Retry(Arc<AtomicUsize>);

/// What a lane is given.
pub(super) enum Task {
    /// A round to walk, from a key on, and what it takes of the space of new events.
    Walk(Arc<Round>, Option<String>, Space),
    /// A chain that another process began.
    Resume(Chain),
}

/// The share of the space of new events that a round has until all lanes have walked it.
pub(super) type Space = Arc<Option<OwnedSemaphorePermit>>;

/// A round and where it has got to.
struct Walk {
    round: Arc<Round>,
    _space: Space,
    page: VecDeque<Entry>,
    /// Where the next page begins; `None` behind the last.
    after: Option<Option<String>>,
    /// Pages whose chains are under way, and the key that each of them ends with.
    open: VecDeque<(Weak<Open>, String)>,
    current: Option<Arc<Open>>,
}

/// That a page is not done with, while somebody holds it.
#[derive(Debug)]
pub(super) struct Open;

/// Rounds that walk at once; the others wait for one of them to end.
const MOST_WALKS: usize = 64;
/// Devices that are read at a time.
const PAGE: usize = 256;
/// Behind all keys of devices.
const END: &str = "push/room/~";
/// How long the store is left alone when it couldn't.
const STORE_REST: Duration = Duration::from_secs(1);
/// The first pause of a lane whose provider says "too much", which may be about one device: it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Origins that are services of browsers.
#[cfg(feature = "webpush")]
const IS_KNOWN: fn(&str) -> bool = super::endpoint::is_known_origin;
#[cfg(not(feature = "webpush"))]
const IS_KNOWN: fn(&str) -> bool = |_| false;
/// The part of a lane's slots that retries have beside first tries, and without.
const RETRY_SHARES: (usize, usize) = (8, 2);

impl Lane {
    pub(super) fn new(
        shared: Arc<Shared>,
        provider: Arc<dyn AnyProvider>,
        counts: Arc<Counts>,
        arriving: mpsc::Receiver<Task>,
    ) -> Self {
        Lane {
            slots: Arc::new(Slots::new(provider.concurrency(), IS_KNOWN)),
            shared,
            provider,
            counts,
            arriving,
            walks: VecDeque::new(),
            ending: Vec::new(),
            waiting: Waiting::default(),
            trying: JoinSet::new(),
            retrying: Arc::default(),
            retried: false,
            paused: Instant::now(),
            throttled: 0,
        }
    }

    /// Runs until nobody can give it anything.
    pub(super) async fn run(mut self) {
        loop {
            let wake = self.begin().await;
            let full = self.walks.len() >= MOST_WALKS;
            let sleeping = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(ended) = self.trying.join_next(), if !self.trying.is_empty() => {
                    match ended {
                        Ok((chain, ended, open)) => {
                            self.conclude(chain, ended).await;
                            drop(open);
                            self.ending.retain_mut(|walk| !walk.report(self.provider.name()));
                        }
                        // An application's own code panicked, and said so.
                        Err(_) => self.counts.rejected(),
                    }
                    self.shared.trying.fetch_sub(1, Ordering::AcqRel);
                }
                task = self.arriving.recv(), if !full => match task {
                    Some(Task::Walk(round, after, space)) => {
                        self.walks.push_back(Walk::new(round, after, space));
                    }
                    Some(Task::Resume(chain)) => self.resume(chain).await,
                    // The server is gone; where the store outlives it, another goes on.
                    None => return,
                },
                () = self.slots.changed() => {}
                () = sleeping => {}
            }
        }
    }

    /// Begins what may be begun; yields when there may be more.
    async fn begin(&mut self) -> Option<Instant> {
        while self.has_space() {
            if self.shared.stopping.load(Ordering::Acquire) {
                return None;
            }
            let now = Instant::now();
            if self.paused > now {
                return Some(self.paused);
            }
            let due = self.waiting.due();
            let is_due = due.is_some_and(|at| at <= now);
            if is_due
                && self.may_retry()
                && let Some(chain) = self.waiting.pop()
            {
                self.retried = true;
                self.start(chain, None);
                continue;
            }
            self.retried = false;
            if self.walks.is_empty() {
                // Of those that are due, the next begins when one that is under way ends.
                return due.filter(|_| !is_due);
            }
            match self.step().await {
                Ok(Some((chain, open))) => self.start(chain, Some(open)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "pushes wait for the store");
                    self.paused = now + STORE_REST;
                }
            }
        }
        None
    }

    /// Returns whether one more try may begin.
    fn has_space(&self) -> bool {
        match self.throttled {
            0 => self.slots.has_space(self.trying.len()),
            _ => self.trying.is_empty(),
        }
    }

    /// Returns whether the next try may be a retry. First tries never wait for retries: they have most of the slots,
    /// and every other turn where there are few.
    fn may_retry(&self) -> bool {
        let (beside, alone) = RETRY_SHARES;
        let (share, turn) = match self.walks.is_empty() {
            true => (alone, true),
            false => (beside, !self.retried),
        };
        turn && self.retrying.load(Ordering::Acquire) < (self.provider.concurrency() / share).max(1)
    }

    /// The next device of the round whose turn it is.
    async fn step(&mut self) -> Result<Option<(Chain, Arc<Open>)>, StoreError> {
        let Some(mut walk) = self.walks.pop_front() else { return Ok(None) };
        let name = self.provider.name();
        let next = match walk.is_over() {
            true => Ok(None),
            false => walk.next(&self.shared.devices, name).await,
        };
        let reported = walk.report(name);
        match next {
            Ok(None) if reported => {}
            Ok(None) => self.ending.push(walk),
            Ok(Some(_)) | Err(_) => self.walks.push_back(walk),
        }
        next
    }

    fn start(&mut self, mut chain: Chain, open: Option<Arc<Open>>) {
        let (shared, provider) = (Arc::clone(&self.shared), Arc::clone(&self.provider));
        let (slots, retry) = (Arc::clone(&self.slots), (chain.tries > 0).then(|| Retry::new(&self.retrying)));
        shared.trying.fetch_add(1, Ordering::AcqRel);
        self.trying.spawn(async move {
            let ended = chain.run(&shared, &slots, &*provider).await;
            drop(retry);
            (chain, ended, open)
        });
    }

    async fn conclude(&mut self, mut chain: Chain, mut ended: Ended) {
        if let Ended::AllWait(at) = ended {
            self.throttle(at);
        }
        if matches!(ended, Ended::Again(_) | Ended::AllWait(_)) && !self.may_wait(&mut chain) {
            ended = Ended::Expired;
        }
        if matches!(ended, Ended::Delivered | Ended::Forgotten | Ended::Suspended | Ended::Rejected) {
            self.throttled = 0;
        }
        self.counts.count(&ended);
        match ended {
            Ended::Again(at) | Ended::AllWait(at) => self.wait_on_record(at, chain).await,
            Ended::Unread => {
                self.paused = self.paused.max(Instant::now() + STORE_REST);
                self.waiting.push(self.paused, chain);
            }
            _ => {
                if let Some(pending) = self.shared.pending.as_ref().filter(|_| chain.recorded) {
                    pending.ended(&chain).await;
                }
            }
        }
    }

    /// Goes on with a chain that another process began. It may wait, for it did so before; the router sees to it that
    /// they aren't too many, and gives those that are over no share.
    async fn resume(&mut self, chain: Chain) {
        if chain.share.is_some() {
            return self.waiting.push(Instant::now(), chain);
        }
        let ended = if chain.round.is_superseded() { Ended::Cancelled } else { Ended::Expired };
        self.conclude(chain, ended).await;
    }

    /// Lets a chain wait, so that a restart goes on with it.
    async fn wait_on_record(&mut self, at: Instant, mut chain: Chain) {
        if let Some(pending) = &self.shared.pending {
            pending.waits(&chain).await;
            chain.recorded = true;
        }
        self.waiting.push(at, chain);
    }

    /// Returns whether a chain may wait for another try, which costs memory.
    fn may_wait(&self, chain: &mut Chain) -> bool {
        let origin = chain.origin.as_ref();
        let share = chain.share.take().filter(|share| share.is_of_origin() == origin.is_some());
        chain.share = share.or_else(|| chain.round.retain(&self.shared.retained, origin));
        let may = chain.share.is_some() && self.waiting.admits(chain);
        if !may {
            let reason = "too many wait for another try";
            self.shared.complaints.say(self.provider.name(), "a push is given up", reason);
        }
        may
    }

    /// Nothing begins for a while, at most `until` then.
    fn throttle(&mut self, until: Instant) {
        let now = Instant::now();
        // Of tries that were under way when the pause began, none says more.
        if self.paused <= now {
            let pause = FIRST_PAUSE.saturating_mul(1 << self.throttled.min(16));
            self.throttled += 1;
            self.paused = until.min(now + pause);
        }
    }
}

impl Retry {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Retry(Arc::clone(count))
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Walk {
    fn new(round: Arc<Round>, after: Option<String>, space: Space) -> Self {
        let (page, open) = (VecDeque::new(), VecDeque::new());
        Walk { round, _space: space, page, after: Some(after), open, current: None }
    }

    /// Whether no device of it needs to be told any more.
    fn is_over(&mut self) -> bool {
        let over = self.round.is_superseded();
        if over {
            self.page.clear();
            (self.after, self.current) = (None, None);
        }
        over
    }

    async fn next(
        &mut self,
        devices: &Devices,
        provider: &str,
    ) -> Result<Option<(Chain, Arc<Open>)>, StoreError> {
        while self.page.is_empty() {
            let Some(after) = &self.after else {
                self.current = None;
                return Ok(None);
            };
            let (page, next) = devices.of_room(&self.round.room_id, provider, after.as_deref(), PAGE).await?;
            let open = Arc::new(Open);
            self.open.push_back((Arc::downgrade(&open), next.clone().unwrap_or_else(|| END.to_owned())));
            self.current = Some(open);
            let page = page.into_iter().filter(|entry| !self.round.skips(&entry.registration.device));
            (self.page, self.after) = (page.collect(), next.map(Some));
        }
        let (Some(entry), Some(open)) = (self.page.pop_front(), &self.current) else { return Ok(None) };
        Ok(Some((
            Chain {
                round: Arc::clone(&self.round),
                entry,
                tries: 0,
                deferred: 0,
                recorded: false,
                origin: None,
                share: None,
                resumed: None,
            },
            Arc::clone(open),
        )))
    }

    /// Says how far it is done with; yields whether that is all.
    fn report(&mut self, provider: &'static str) -> bool {
        let mut done = None;
        while let Some((open, _)) = self.open.front()
            && open.strong_count() == 0
        {
            done = self.open.pop_front();
        }
        if let Some((_, key)) = done {
            self.round.done_to(provider, key);
        }
        self.open.is_empty()
    }
}
