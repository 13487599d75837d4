//! Rounds, from the event to the providers' lanes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    dispatch::UNIT,
    elsewhere::{self, Elsewhere},
    lane::{Shared, Task},
    pending::{Held, Left},
    round::Round,
    told::Told,
};
use crate::hub::{Registry, RoomDecl};

/// Holds rounds until they are due, and hands them to the lanes.
pub(super) struct Router {
    shared: Arc<Shared>,
    registry: Weak<Registry>,
    lanes: Vec<(&'static str, mpsc::Sender<Task>)>,
    space: Arc<Semaphore>,
    early: BTreeMap<(Instant, String), Arc<Round>>,
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
    /// By room and collapse key.
    newest: HashMap<(Arc<str>, String), Weak<Round>>,
    /// How often the other instances took this one for gone, as far as all that is live was looked at since.
    forgotten: usize,
    /// Who waits until nothing would be lost with the process.
    settlers: Vec<oneshot::Sender<()>>,
}

/// An event that was about to be put into its room.
pub(super) struct Arrival {
    pub(super) room: Arc<RoomDecl>,
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
                Some(left) = inherited.recv() => self.take_over(left).await,
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
        self.registry.upgrade().is_none_or(|registry| registry.peers().is_none())
    }

    fn has_work(&self) -> bool {
        !(self.live.is_empty() && self.unsure.is_empty() && self.void.is_empty() && self.settlers.is_empty())
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
    fn enlist(&mut self, round: &Arc<Round>, kept: Option<Bytes>) {
        self.live.insert(round.id().to_owned(), Live { round: Arc::downgrade(round), kept });
        let Some(collapse) = &round.collapse else { return };
        let key = (Arc::clone(&round.room_id), collapse.clone());
        let before = self.newest.insert(key, Arc::downgrade(round));
        if let Some(before) = before.and_then(|before| before.upgrade()) {
            before.supersede();
        }
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
            for (provider, lane) in &self.lanes {
                let after = round.told.done.get(*provider).cloned();
                // The permits are fewer than its places; those of a process before wait.
                let _ = lane.send(Task::Walk(Arc::clone(&round), after)).await;
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
    async fn look(&mut self) {
        let (live, gone): (HashMap<_, _>, HashMap<_, _>) =
            self.live.drain().partition(|(_, live)| live.round.strong_count() > 0);
        self.live = live;
        self.newest.retain(|_, round| round.strong_count() > 0);
        self.elsewhere.retain(|_, elsewhere| elsewhere.strong_count() > 0);
        self.epochs.clear();
        let stopped =
            self.shared.stopping.load(Ordering::Acquire) && self.shared.trying.load(Ordering::Acquire) == 0;
        self.record(gone).await;
        if !self.shared.stopping.load(Ordering::Acquire) {
            self.make_sure().await;
        }
        if self.live.is_empty() || stopped {
            self.settlers.drain(..).for_each(|settler| _ = settler.send(()));
        }
    }

    async fn record(&mut self, gone: HashMap<String, Live>) {
        let Some(pending) = &self.shared.pending else { return };
        let mut done = std::mem::take(&mut self.void);
        done.extend(gone.into_iter().map(|(id, live)| (id, live.kept)));
        if !done.is_empty() {
            pending.done(done).await;
        }
        let live: Vec<Arc<Round>> = self.live.values().filter_map(|live| live.round.upgrade()).collect();
        let peers = self.registry.upgrade().and_then(|registry| registry.peers().cloned());
        let forgotten = peers.map_or(0, |peers| peers.forgotten());
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
    async fn resume(&mut self) {
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
        let mut chains = Vec::new();
        for left in left {
            if let Some(round) = self.revive(&left).await {
                chains.extend(left.chains(&round));
            }
        }
        self.go_on(chains).await;
    }

    /// Goes on with what another instance left.
    async fn take_over(&mut self, left: Left) {
        if let Some(round) = self.revive(&left).await {
            self.go_on(left.chains(&round)).await;
        }
    }

    async fn revive(&mut self, left: &Left) -> Option<Arc<Round>> {
        let units = u32::try_from(left.told.data.len() / UNIT + 1).ok()?;
        let permit = Arc::clone(&self.space).try_acquire_many_owned(units).ok()?;
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
        self.enlist(&round, kept);
        self.early.insert((round.due, round.id().to_owned()), Arc::clone(&round));
        Some(round)
    }

    /// Gives the chains of devices that wait to their lanes.
    async fn go_on(&self, chains: Vec<super::chain::Chain>) {
        for chain in chains {
            let device = &chain.entry.registration.device;
            let Some((_, lane)) = self.lanes.iter().find(|(name, _)| device.is_of(name)) else { continue };
            chain.round.skip(device.clone());
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
