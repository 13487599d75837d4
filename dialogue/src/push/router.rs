//! Rounds, from the event to the providers' lanes.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    dispatch::MOST_UNITS,
    elsewhere::{self, Elsewhere},
    lane::{Shared, Task},
    pending::{Held, Left},
    round::Round,
    told::Told,
    topic, waiting,
};
use crate::hub::{Registry, RoomSpec};

/// Holds rounds until they are due, and hands them to the lanes.
pub(super) struct Router {
    shared: Arc<Shared>,
    registry: Weak<Registry>,
    lanes: Vec<(&'static str, mpsc::Sender<Task>)>,
    space: Arc<Semaphore>,
    pub(super) early: BTreeMap<(Instant, String), Arc<Round>>,
    /// All that are not done with.
    live: HashMap<String, Live>,
    /// Events of which nobody said what became of them, and when that will be looked up.
    unsure: BTreeMap<(Instant, String), Unsure>,
    /// What is on record of events that are no new ones.
    void: Vec<(String, Option<Bytes>)>,
    /// Of rooms, as they were a moment ago.
    epochs: HashMap<Arc<str>, Arc<str>>,
    /// Of rooms that have rounds, where there are other instances.
    elsewhere: HashMap<Arc<str>, Weak<Elsewhere>>,
    /// The newest rounds by the [topic](super::topic) of their room and collapse key.
    pub(super) newest: HashMap<String, Newest>,
    /// How often the other instances took this one for gone, as far as all that is live was looked at since.
    forgotten: usize,
    /// What processes before left, and this one has no space for yet.
    pub(super) left: VecDeque<Left>,
    /// The memory that those take, in [`UNIT`](super::dispatch::UNIT)s.
    pub(super) left_units: usize,
    /// The count of resumed chains, each of which holds a clone.
    resumed: Arc<()>,
    /// Who waits until nothing would be lost with the process.
    settlers: Vec<oneshot::Sender<()>>,
}

/// An event that was about to be put into its room.
pub(super) struct Arrival {
    pub(super) room: Arc<RoomSpec>,
    pub(super) told: Told,
    /// When it was begun with, and when its fate was known.
    pub(super) between: (Instant, Instant),
    /// What is on record of it.
    pub(super) kept: Option<Bytes>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) fate: Fate,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Accepted,
    /// It was in the room already.
    Void,
    Unsure,
}

/// The newest round of a collapse key. An older one may come later, from another process.
pub(super) struct Newest {
    id: String,
    round: Weak<Round>,
}

struct Live {
    round: Weak<Round>,
    kept: Option<Bytes>,
}

struct Unsure {
    told: Told,
    kept: Option<Bytes>,
    permit: OwnedSemaphorePermit,
}

/// Between two looks at what is done with.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while a process that ends waits.
const SETTLE_EVERY: Duration = Duration::from_millis(50);
/// Between two tries to read what a process before left.
const STORE_REST: Duration = Duration::from_secs(1);
/// Memory of events that other instances left and this one has no space for, in [`UNIT`](super::dispatch::UNIT)s: with
/// more, it takes none over. One of them alone doesn't keep the others from it.
const MOST_LEFT: usize = MOST_UNITS / 2;
/// Space that is left to new events by those which processes before left, in [`UNIT`](super::dispatch::UNIT)s.
const FOR_NEW: usize = MOST_UNITS / 4;
/// Rounds that are over and remembered, in case that an older one of their collapse key comes from another process.
const MOST_REMEMBERED: usize = 16_384;
/// After so long, no event is on its way into its room any more: everything that it waits for there is bounded.
const SURE_AFTER: Duration = Duration::from_secs(20);

impl Router {
    pub(super) fn new(
        shared: Arc<Shared>,
        registry: &Arc<Registry>,
        lanes: Vec<(&'static str, mpsc::Sender<Task>)>,
        space: Arc<Semaphore>,
    ) -> Self {
        Router {
            shared,
            registry: Arc::downgrade(registry),
            lanes,
            space,
            early: BTreeMap::new(),
            live: HashMap::new(),
            unsure: BTreeMap::new(),
            void: Vec::new(),
            epochs: HashMap::new(),
            elsewhere: HashMap::new(),
            newest: HashMap::new(),
            forgotten: 0,
            left: VecDeque::new(),
            left_units: 0,
            resumed: Arc::default(),
            settlers: Vec::new(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut arrivals: mpsc::Receiver<Arrival>,
        mut inherited: mpsc::Receiver<Left>,
        mut settlers: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        if self.is_alone() {
            self.resume().await;
        }
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = interval(elsewhere::EVERY);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.early.first_key_value().map(|((due, _), _)| *due);
            let is_due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => self.arrive(arrival).await,
                    None => return,
                },
                // Of those that are not taken over yet, another instance can go on with some.
                Some(left) = inherited.recv(), if self.left_units < MOST_LEFT => self.go_on_with(left).await,
                () = is_due => self.hand_over(Instant::now()).await,
                _ = watch.tick(), if !self.elsewhere.is_empty() && !self.early.is_empty() => {
                    self.look_elsewhere().await;
                }
                _ = look.tick(), if self.has_work() => {
                    self.look().await;
                    if !self.settlers.is_empty() {
                        look.reset_after(SETTLE_EVERY);
                    }
                }
                Some(settler) = settlers.recv() => {
                    self.settlers.push(settler);
                    self.settle(&mut arrivals).await;
                    look.reset_after(SETTLE_EVERY);
                }
            }
        }
    }

    /// Whether there are no other instances that could go on with what this one leaves.
    fn is_alone(&self) -> bool {
        self.registry.upgrade().is_none_or(|registry| registry.cluster().is_none())
    }

    fn has_work(&self) -> bool {
        let waits = !(self.unsure.is_empty() && self.left.is_empty());
        waits || !(self.live.is_empty() && self.void.is_empty() && self.settlers.is_empty())
    }

    async fn arrive(&mut self, arrival: Arrival) {
        let Arrival { room, told, between, kept, permit, fate } = arrival;
        match fate {
            Fate::Void if kept.is_some() => self.void.push((told.id, kept)),
            Fate::Void => {}
            Fate::Unsure => {
                let due = Instant::now() + SURE_AFTER;
                self.unsure.insert((due, told.id.clone()), Unsure { told, kept, permit });
            }
            Fate::Accepted => {
                if let Some(round) = Round::new(&room, told, permit, Some(between)) {
                    self.take(Arc::new(round), kept).await;
                }
            }
        }
    }

    async fn take(&mut self, round: Arc<Round>, kept: Option<Bytes>) {
        self.watch(&round).await;
        round.in_epoch(self.epoch(&round.room_id).await.as_deref());
        self.enlist(&round, kept);
        self.keep(&round).await;
        self.early.insert((round.due, round.id().to_owned()), round);
    }

    /// Takes it among the live ones, in the place of an older one.
    pub(super) fn enlist(&mut self, round: &Arc<Round>, kept: Option<Bytes>) {
        self.live.insert(round.id().to_owned(), Live { round: Arc::downgrade(round), kept });
        let Some(key) = key(round) else { return };
        let newest = Newest { id: round.id().to_owned(), round: Arc::downgrade(round) };
        if let Some(before) = self.newest.insert(key, newest).and_then(|before| before.round.upgrade()) {
            before.supersede();
        }
    }

    /// Takes a round among the live ones that another process began, or whose fate was looked up: a newer one may be
    /// there already, or have been there.
    fn enlist_late(&mut self, round: &Arc<Round>, kept: Option<Bytes>) {
        let newest = key(round).and_then(|key| self.newest.get(&key));
        if newest.is_some_and(|newest| newest.id.as_str() > round.id()) {
            round.supersede();
            self.live.insert(round.id().to_owned(), Live { round: Arc::downgrade(round), kept });
            return;
        }
        self.enlist(round, kept);
    }

    /// From now on, who is in its room at other instances has seen it.
    async fn watch(&mut self, round: &Round) {
        if self.is_alone() || !round.is_for_absent() {
            return;
        }
        let known = self.elsewhere.get(&round.room_id).and_then(Weak::upgrade);
        let elsewhere = known.unwrap_or_else(|| {
            let elsewhere = Arc::new(Elsewhere::new(self.registry.clone(), Arc::clone(&round.room_id)));
            self.elsewhere.insert(Arc::clone(&round.room_id), Arc::downgrade(&elsewhere));
            elsewhere
        });
        elsewhere.look(elsewhere::AT_ONCE, &self.shared.departures).await;
        round.watch(elsewhere);
    }

    /// Who comes and goes there while rounds wait has seen them, too.
    async fn look_elsewhere(&self) {
        let mut seen = HashSet::new();
        for round in self.early.values() {
            if let Some(elsewhere) = round.elsewhere()
                && seen.insert(&round.room_id)
            {
                elsewhere.look(elsewhere::EVERY, &self.shared.departures).await;
            }
        }
    }

    /// The process is about to end.
    async fn settle(&mut self, arrivals: &mut mpsc::Receiver<Arrival>) {
        while let Ok(arrival) = arrivals.try_recv() {
            self.arrive(arrival).await;
        }
        self.shared.stopping.store(self.shared.pending.is_some(), Ordering::Release);
        if self.shared.pending.is_none()
            && let Some(((last, _), _)) = self.early.last_key_value()
        {
            // Nobody else will.
            self.hand_over(*last).await;
        }
        self.look().await;
    }

    /// Gives those that are due by then to every lane.
    async fn hand_over(&mut self, by: Instant) {
        while let Some(first) = self.early.first_entry()
            && first.key().0 <= by
        {
            let round = first.remove();
            if round.is_superseded() {
                continue;
            }
            if let Some(elsewhere) = round.elsewhere() {
                elsewhere.look(elsewhere::AT_ONCE, &self.shared.departures).await;
            }
            let space = Arc::new(round.release());
            for (provider, lane) in &self.lanes {
                let after = round.told.done.get(*provider).cloned();
                // The permits are fewer than its places; those of a process before wait.
                let _ = lane.send(Task::Walk(Arc::clone(&round), after, Arc::clone(&space))).await;
            }
        }
    }

    /// The epoch of a room's log. Asked for once for a while: it interrupts the room.
    async fn epoch(&mut self, room_id: &Arc<str>) -> Option<Arc<str>> {
        if let Some(epoch) = self.epochs.get(room_id) {
            return Some(Arc::clone(epoch));
        }
        let instance = self.registry.upgrade()?.find(room_id)?;
        let epoch: Arc<str> = instance.run(|state| state.epoch().into()).await?;
        self.epochs.insert(Arc::clone(room_id), Arc::clone(&epoch));
        Some(epoch)
    }

    /// Lets go of what is done with, and keeps how far the others are.
    pub(super) async fn look(&mut self) {
        let (live, gone): (HashMap<_, _>, HashMap<_, _>) =
            self.live.drain().partition(|(_, live)| live.round.strong_count() > 0);
        self.live = live;
        self.forget_newest();
        self.elsewhere.retain(|_, elsewhere| elsewhere.strong_count() > 0);
        self.epochs.clear();
        let stopped =
            self.shared.stopping.load(Ordering::Acquire) && self.shared.trying.load(Ordering::Acquire) == 0;
        self.record(gone).await;
        if !self.shared.stopping.load(Ordering::Acquire) {
            self.make_sure().await;
            self.go_on().await;
        }
        if self.live.is_empty() || stopped {
            self.settlers.drain(..).for_each(|settler| _ = settler.send(()));
        }
    }

    /// Forgets rounds that are over, but for the newest ones while an older one of their collapse key may come.
    fn forget_newest(&mut self) {
        let is_over = |newest: &Newest| newest.round.strong_count() == 0;
        if self.is_alone() && self.left.is_empty() && self.unsure.is_empty() {
            self.newest.retain(|_, newest| !is_over(newest));
            return;
        }
        let mut over: Vec<_> =
            self.newest.values().filter(|newest| is_over(newest)).map(|newest| &newest.id).collect();
        let Some(too_many) = over.len().checked_sub(MOST_REMEMBERED + 1) else { return };
        // Ids begin with the time.
        let last = over.select_nth_unstable(too_many).1.clone();
        self.newest.retain(|_, newest| !is_over(newest) || newest.id > last);
    }

    async fn record(&mut self, gone: HashMap<String, Live>) {
        let Some(pending) = &self.shared.pending else { return };
        let mut done = std::mem::take(&mut self.void);
        done.extend(gone.into_iter().map(|(id, live)| (id, live.kept)));
        if !done.is_empty() {
            pending.done(done).await;
        }
        let live: Vec<Arc<Round>> = self.live.values().filter_map(|live| live.round.upgrade()).collect();
        let peers = self.registry.upgrade().and_then(|registry| registry.cluster().cloned());
        let forgotten = peers.map_or(0, |peers| peers.forgotten_count());
        // Whoever took this one for gone took over what it had on its way.
        let in_doubt = self.forgotten != forgotten;
        let mut sure = true;
        for round in live.iter().filter(|round| round.has_news() || in_doubt) {
            sure &= self.keep(round).await;
        }
        if sure {
            self.forgotten = forgotten;
        }
    }

    /// Records how far a round is, unless another instance goes on with it; yields whether that is known.
    async fn keep(&mut self, round: &Arc<Round>) -> bool {
        let (Some(pending), Some(live)) = (&self.shared.pending, self.live.get_mut(round.id())) else {
            return true;
        };
        match pending.keep(&round.told(), live.kept.take()).await {
            Held::Ours(kept) => live.kept = kept,
            Held::Unknown(kept) => {
                live.kept = kept;
                return false;
            }
            Held::Theirs => {
                tracing::warn!(room_id = &*round.room_id, "another instance goes on with an event's pushes");
                round.supersede();
                // What is on record is the other's.
                self.live.remove(round.id());
            }
        }
        true
    }

    /// Goes on with what a process before left in the store.
    pub(super) async fn resume(&mut self) {
        let Some(pending) = &self.shared.pending else { return };
        let left = loop {
            match pending.left().await {
                Ok(left) => break left,
                Err(error) => {
                    tracing::warn!(%error, "pushes that a process before left can't be read yet");
                    sleep(STORE_REST).await;
                }
            }
        };
        left.into_iter().for_each(|left| self.put_back(left));
        self.go_on().await;
    }

    /// Goes on with what processes before left, as far as there is space for it. The rest stays on record, and is looked
    /// at again as long as this process lives.
    async fn go_on(&mut self) {
        for _ in 0..self.left.len() {
            let Some(left) = self.left.pop_front() else { return };
            self.left_units = self.left_units.saturating_sub(left.units());
            self.go_on_with(left).await;
        }
    }

    fn put_back(&mut self, left: Left) {
        self.left_units = self.left_units.saturating_add(left.units());
        self.left.push_back(left);
    }

    /// Goes on with an event that another process left, as far as there is space for it and its retries: devices
    /// without space keep none of the others waiting.
    pub(super) async fn go_on_with(&mut self, mut left: Left) {
        let round = match left.round.take() {
            Some(round) => round,
            None => {
                let Some(permit) = self.space_for(&left) else { return self.put_back(left) };
                match self.is_ours(&mut left).await {
                    Some(true) => {}
                    Some(false) => return,
                    None => return self.put_back(left),
                }
                let Some(round) = self.revive(&left, permit).await else { return };
                left.devices().for_each(|device| round.skip(device.clone()));
                // The round has them.
                (left.told.data, left.kept) = (String::new(), Bytes::new());
                (round, Instant::now())
            }
        };
        self.resume_chains(&mut left, &round).await;
        if left.devices().next().is_some() {
            left.round = Some(round);
            self.put_back(left);
        }
    }

    /// Returns whether this instance still goes on with an event that it took over, if that can be told: while there
    /// was no space, others may have taken it for gone.
    async fn is_ours(&self, left: &mut Left) -> Option<bool> {
        let Some(pending) = &self.shared.pending else { return Some(true) };
        match pending.claim(left).await {
            Ok(ours) => {
                if !ours {
                    tracing::warn!(
                        room_id = left.told.room_id,
                        "another instance goes on with an event's pushes"
                    );
                }
                Some(ours)
            }
            Err(error) => {
                tracing::warn!(%error, "pushes that another instance left wait for the store");
                None
            }
        }
    }

    /// The share of what may wait that an event had in another process, if that leaves space to new events.
    fn space_for(&self, left: &Left) -> Option<OwnedSemaphorePermit> {
        let units = left.told.units().min(MOST_UNITS);
        let free = self.space.available_permits();
        if free < MOST_UNITS && free < units + FOR_NEW {
            return None;
        }
        Arc::clone(&self.space).try_acquire_many_owned(u32::try_from(units).ok()?).ok()
    }

    async fn revive(&mut self, left: &Left, permit: OwnedSemaphorePermit) -> Option<Arc<Round>> {
        let (told, kept) = (left.told.clone(), Some(left.kept.clone()));
        if told.offered {
            self.unsure.insert((Instant::now(), told.id.clone()), Unsure { told, kept, permit });
            return None;
        }
        self.begin_again(told, kept, permit).await
    }

    async fn begin_again(
        &mut self,
        told: Told,
        kept: Option<Bytes>,
        permit: OwnedSemaphorePermit,
    ) -> Option<Arc<Round>> {
        let registry = self.registry.upgrade()?;
        let (room, _) = registry.declared(&told.room_id).ok()?;
        let round = Arc::new(Round::new(room, told, permit, None)?);
        self.watch(&round).await;
        let epoch = match &round.told.epoch {
            Some(epoch) => Some(epoch.as_str().into()),
            None => self.epoch(&round.room_id).await,
        };
        round.in_epoch(epoch.as_deref());
        self.enlist_late(&round, kept);
        self.early.insert((round.due, round.id().to_owned()), Arc::clone(&round));
        Some(round)
    }

    /// Gives the chains of devices that waited, and have memory for their retries or are over, to their lanes.
    async fn resume_chains(&self, left: &mut Left, round: &(Arc<Round>, Instant)) {
        let most = waiting::MOST_RESUMED.saturating_sub(Arc::strong_count(&self.resumed) - 1);
        for chain in left.chains(round, &self.shared.retained, (&self.resumed, most)) {
            let device = &chain.entry.registration.device;
            let Some((_, lane)) = self.lanes.iter().find(|(name, _)| device.is_of(name)) else { continue };
            let _ = lane.send(Task::Resume(chain)).await;
        }
    }

    /// Looks up in the rooms' logs what became of events that were about to be put there.
    async fn make_sure(&mut self) {
        let shared = Arc::clone(&self.shared);
        let Some(pending) = &shared.pending else { return };
        while let Some(first) = self.unsure.first_entry()
            && first.key().0 <= Instant::now()
        {
            let Unsure { mut told, kept, permit } = first.remove();
            match pending.find(&mut told).await {
                Ok(true) => _ = self.begin_again(told, kept, permit).await,
                Ok(false) => self.void.push((told.id, kept)),
                Err(error) => {
                    tracing::warn!(%error, "it can't be told yet whether an event was accepted");
                    let later = Instant::now() + STORE_REST;
                    self.unsure.insert((later, told.id.clone()), Unsure { told, kept, permit });
                    return;
                }
            }
        }
    }
}

/// What newer events take the place of an older one by.
fn key(round: &Round) -> Option<String> {
    round.collapse.as_ref().map(|collapse| topic(&round.room_id, collapse))
}
