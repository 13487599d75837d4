//! One provider's queue: rounds walk over its devices in turn, so that a big room doesn't keep a small one waiting.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
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
    round::Round,
};
use crate::{directory::Directory, hooks::AnyHooks, store::StoreError};

/// What all lanes need.
pub(super) struct Shared {
    pub(super) devices: Devices,
    pub(super) directory: Arc<Directory>,
    pub(super) departures: Departures,
    pub(super) complaints: Complaints,
    /// Where the store outlives the process.
    pub(super) pending: Option<Pending>,
    /// The application's say on who still gets pushes.
    pub(super) hooks: Option<Arc<dyn AnyHooks>>,
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
    /// Chains that wait for their next try: of at most [`MOST_WAITING`] devices, then no new ones are begun.
    waiting: BinaryHeap<Reverse<Waiting>>,
    trying: JoinSet<(Chain, Ended, Option<Arc<Open>>)>,
    /// Nothing is begun before that.
    paused: Instant,
}

/// What a lane is given.
pub(super) enum Task {
    /// A round to walk, from a key on.
    Walk(Arc<Round>, Option<String>),
    /// A chain that another process began.
    Resume(Chain),
}

/// A round and where it has got to.
struct Walk {
    round: Arc<Round>,
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

struct Waiting {
    at: Instant,
    chain: Chain,
}

const MOST_WAITING: usize = 100_000;
/// Rounds that walk at once; the others wait for one of them to end.
const MOST_WALKS: usize = 64;
/// Devices that are read at a time.
const PAGE: usize = 256;
/// Behind all keys of devices.
const END: &str = "push/room/~";
/// How long the store is left alone when it couldn't.
const STORE_REST: Duration = Duration::from_secs(1);

impl Lane {
    pub(super) fn new(
        shared: Arc<Shared>,
        provider: Arc<dyn AnyProvider>,
        counts: Arc<Counts>,
        arriving: mpsc::Receiver<Task>,
    ) -> Self {
        Lane {
            shared,
            provider,
            counts,
            arriving,
            walks: VecDeque::new(),
            ending: Vec::new(),
            waiting: BinaryHeap::new(),
            trying: JoinSet::new(),
            paused: Instant::now(),
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
                    Some(Task::Walk(round, after)) => self.walks.push_back(Walk::new(round, after)),
                    Some(Task::Resume(chain)) => self.wait(Instant::now(), chain),
                    // The server is gone; where the store outlives it, another goes on.
                    None => return,
                },
                () = sleeping => {}
            }
        }
    }

    /// Begins what may be begun; yields when there may be more.
    async fn begin(&mut self) -> Option<Instant> {
        while self.trying.len() < self.provider.concurrency() {
            if self.shared.stopping.load(Ordering::Acquire) {
                return None;
            }
            let now = Instant::now();
            if self.paused > now {
                return Some(self.paused);
            }
            let due = self.waiting.peek().map(|Reverse(first)| first.at);
            if due.is_some_and(|at| at <= now)
                && let Some(Reverse(Waiting { chain, .. })) = self.waiting.pop()
            {
                self.start(chain, None);
                continue;
            }
            if self.walks.is_empty() || self.waiting.len() >= MOST_WAITING {
                return due;
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
        shared.trying.fetch_add(1, Ordering::AcqRel);
        self.trying.spawn(async move {
            let ended = chain.run(&shared, &*provider).await;
            (chain, ended, open)
        });
    }

    async fn conclude(&mut self, chain: Chain, mut ended: Ended) {
        // Devices that fail again and again must not keep others from their first try.
        if self.waiting.len() >= MOST_WAITING && chain.tries > 1 && matches!(ended, Ended::Again(_)) {
            ended = Ended::Expired;
        }
        self.counts.count(&ended);
        match ended {
            Ended::Again(at) => self.wait_on_record(at, chain).await,
            Ended::AllWait(at) => {
                self.paused = self.paused.max(at);
                self.wait_on_record(at, chain).await;
            }
            Ended::Unread => {
                self.paused = self.paused.max(Instant::now() + STORE_REST);
                self.wait(self.paused, chain);
            }
            _ => {
                if let Some(pending) = self.shared.pending.as_ref().filter(|_| chain.recorded) {
                    pending.ended(&chain).await;
                }
            }
        }
    }

    /// Lets a chain wait, so that a restart goes on with it.
    async fn wait_on_record(&mut self, at: Instant, mut chain: Chain) {
        if let Some(pending) = &self.shared.pending {
            pending.waits(&chain).await;
            chain.recorded = true;
        }
        self.wait(at, chain);
    }

    fn wait(&mut self, at: Instant, chain: Chain) {
        self.waiting.push(Reverse(Waiting { at, chain }));
    }
}

impl Walk {
    fn new(round: Arc<Round>, after: Option<String>) -> Self {
        Walk { round, page: VecDeque::new(), after: Some(after), open: VecDeque::new(), current: None }
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
            Chain { round: Arc::clone(&self.round), entry, tries: 0, recorded: false },
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

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
