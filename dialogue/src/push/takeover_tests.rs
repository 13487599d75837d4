//! What processes before left, and this one goes on with.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use deadline::within;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep},
};

use super::{
    Target,
    chain::Chain,
    complaints::Complaints,
    departures::Departures,
    device::{DeviceId, Registration},
    devices::{Bounds, Devices, Entry},
    dispatch::{MOST_UNITS, UNIT},
    heir::inherit,
    lane::{Shared, Task},
    now,
    pending::{Left, Pending},
    retained::{Retained, Share},
    round::Round,
    router::Router,
    told::Told,
    waiting::{MOST_RESUMED, Waiting},
};
use crate::{
    Accepted, backplane::Local, engine::Engine, hub::Peers, log::Journal, store::Memory,
    user_connections::UserConnections,
};

#[dialogue::event(
    from = server,
    push(title = "{service} is down", body = "{detail}", collapse = service, after = 1ms, always)
)]
struct Alert {
    service: String,
    detail: String,
}

dialogue::rooms! {
    struct Acme;

    alerts: [Alert] via [websocket, webpush];
}

const LIMIT: Duration = Duration::from_secs(60);

/// An instance without a running router.
struct Instance {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    space: Arc<Semaphore>,
}

impl Instance {
    async fn alone() -> Self {
        Self::of(Acme::server().store(Memory::new()).build().await.unwrap().engine())
    }

    async fn over(backplane: &Local) -> Self {
        Self::of(Acme::server().backplane(backplane.clone()).build().await.unwrap().engine())
    }

    fn of(engine: Arc<Engine>) -> Self {
        let registry = &engine.registry;
        let journal = || Arc::clone(registry.journal().unwrap());
        let expire_after = Duration::from_secs(3_600);
        let bounds = Bounds { of_user: 2, of_address: 2, of_all: 3, rooms: 2, expire_after };
        let of_devices = Journal::new(Arc::new(Memory::new()), &Handle::current());
        let shared = Arc::new(Shared {
            devices: Devices::new(of_devices, bounds),
            directory: Arc::new(UserConnections::new(1)),
            departures: Departures::new(Duration::from_secs(1)),
            complaints: Complaints::default(),
            pending: Some(Pending::new(journal(), registry.peers().cloned())),
            hooks: None,
            retained: Retained::new(8, 8),
            stopping: AtomicBool::new(false),
            trying: Default::default(),
        });
        Instance { engine, shared, space: Arc::new(Semaphore::new(MOST_UNITS)) }
    }

    fn pending(&self) -> &Pending {
        self.shared.pending.as_ref().unwrap()
    }

    fn peers(&self) -> Arc<Peers> {
        Arc::clone(self.engine.registry.peers().unwrap())
    }

    /// Its router, and what that gives the lane of its only provider.
    fn router(&self) -> (Router, mpsc::Receiver<Task>) {
        let (lane, tasks) = mpsc::channel(64);
        let (shared, space) = (Arc::clone(&self.shared), Arc::clone(&self.space));
        (Router::new(shared, &self.engine.registry, vec![("crow", lane)], space), tasks)
    }

    fn permit(&self, units: usize) -> OwnedSemaphorePermit {
        Arc::clone(&self.space).try_acquire_many_owned(u32::try_from(units).unwrap()).unwrap()
    }

    fn round(&self, told: Told) -> Arc<Round> {
        let (room, _) = self.engine.registry.declared("alerts").unwrap();
        Arc::new(Round::new(room, told, self.permit(1), None).unwrap())
    }

    /// Records an event as one that this instance pushes.
    async fn record(&self, told: &Told) {
        self.pending().keep(told, None).await;
    }

    async fn left(&self) -> Vec<Left> {
        self.pending().left().await.unwrap()
    }

    /// Leaves the others, as one that ends.
    async fn go(&self) {
        self.peers().leave().await;
    }

    /// Waits until it knows so many instances.
    async fn knows(&self, instances: usize) {
        let counted = async {
            while self.peers().there().len() != instances {
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(LIMIT, "instances come and go", counted).await.unwrap();
    }
}

/// The event of that number, about one service, which takes so many units of memory.
fn told(number: u64, service: &str, units: usize) -> Told {
    let detail = "x".repeat((units - 1) * UNIT);
    Told {
        id: format!("{number:013}"),
        room_id: "alerts".to_owned(),
        event: "alert".to_owned(),
        data: format!(r#"{{"service":"{service}","detail":"{detail}"}}"#),
        from: "server".to_owned(),
        accepted: Accepted { seq: None, event_id: format!("{number}"), timestamp: now(), duplicate: false },
        offered: false,
        done: Default::default(),
        epoch: Some("epoch".to_owned()),
    }
}

/// A chain that waits for a device.
fn chain(round: &Arc<Round>, device: &str, origin: Option<&str>, resumed: Option<Arc<()>>) -> Chain {
    let device = DeviceId::new("crow", &Target::Token(device.to_owned()));
    let entry = Entry { registration: Registration::new(device, 1), user: "alice".into() };
    let (round, origin) = (Arc::clone(round), origin.map(Arc::from));
    Chain { round, entry, tries: 1, deferred: 0, recorded: true, origin, share: None, resumed }
}

/// The next round that the lane is to walk.
async fn walked(tasks: &mut mpsc::Receiver<Task>) -> Arc<Round> {
    let next = async {
        loop {
            if let Task::Walk(round, ..) = tasks.recv().await.expect("a task") {
                return round;
            }
        }
    };
    within(LIMIT, "a round is walked", next).await.unwrap()
}

/// The origins of the chains that the lane is to go on with, and whether they may wait.
fn resumed(tasks: &mut mpsc::Receiver<Task>) -> Vec<(Option<Arc<str>>, bool)> {
    let mut resumed = Vec::new();
    while let Ok(task) = tasks.try_recv() {
        if let Task::Resume(chain) = task {
            resumed.push((chain.origin.clone(), chain.share.is_some()));
        }
    }
    resumed
}

fn fill(retained: &Arc<Retained>, origin: &str) -> Vec<Share> {
    std::iter::from_fn(|| retained.take(Some(&origin.into()), 1)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_older_notification_is_not_pushed_after_a_newer_one() {
    let instance = Instance::alone().await;
    let (mut router, _tasks) = instance.router();
    instance.record(&told(1, "db", 1)).await;
    let taken = instance.permit(MOST_UNITS - 1);
    router.resume().await;
    let newer = instance.round(told(2, "db", 1));
    router.enlist(&newer, None);
    drop(newer);
    // The newer one is over by now, and the older one has its space.
    router.look().await;
    drop(taken);
    router.look().await;
    let superseded: Vec<_> = router.early.values().map(|round| round.is_superseded()).collect();
    assert_eq!(superseded, [true]);
}

#[tokio::test(start_paused = true)]
async fn rounds_that_are_over_are_forgotten_where_no_older_ones_may_come() {
    let instance = Instance::alone().await;
    let (mut router, _tasks) = instance.router();
    router.enlist(&instance.round(told(2, "db", 1)), None);
    router.look().await;
    assert!(router.newest.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_without_space_keeps_no_other_from_being_taken_over() {
    let instance = Instance::alone().await;
    let (router, mut tasks) = instance.router();
    instance.record(&told(1, "db", 8)).await;
    instance.record(&told(2, "web", 1)).await;
    let _taken = instance.permit(MOST_UNITS / 4 * 3 - 4);
    let (inheriting, inherited) = mpsc::channel(1);
    let (_arriving, arrivals) = mpsc::channel(1);
    let (_settling, settlers) = mpsc::channel(1);
    let left = instance.left().await;
    // A router that is alone reads what is left itself.
    for left in &left {
        instance.pending().done(vec![(left.told.id.clone(), None)]).await;
    }
    let running = tokio::spawn(router.run(arrivals, inherited, settlers));
    for left in left {
        within(LIMIT, "it is taken over", inheriting.send(left)).await.unwrap().expect("a router");
    }
    assert_eq!(walked(&mut tasks).await.id(), told(2, "", 1).id);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_left_leaves_space_to_new_events() {
    let instance = Instance::alone().await;
    let (mut router, _tasks) = instance.router();
    for number in 0..4 {
        instance.record(&told(number, &format!("{number}"), 1)).await;
    }
    let _taken = instance.permit(MOST_UNITS / 4 * 3 - 2);
    router.resume().await;
    assert_eq!((router.early.len(), router.left.len()), (2, 2));
    assert_eq!(instance.space.available_permits(), MOST_UNITS / 4);
}

#[tokio::test(start_paused = true)]
async fn what_others_took_over_while_there_was_no_space_is_theirs() {
    let backplane = Local::new();
    let (one, other) = (Instance::over(&backplane).await, Instance::over(&backplane).await);
    let (mut router, _tasks) = one.router();
    one.record(&told(1, "db", 1)).await;
    let taken = one.permit(MOST_UNITS);
    router.go_on_with(one.left().await.pop().unwrap()).await;
    assert_eq!(router.left.len(), 1);
    let mut left = other.left().await.pop().unwrap();
    assert!(other.pending().claim(&mut left).await.unwrap());
    drop(taken);
    router.look().await;
    assert_eq!((router.left.len(), router.early.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_device_without_memory_waits_and_keeps_no_other_waiting() {
    let instance = Instance::alone().await;
    let (mut router, mut tasks) = instance.router();
    let event = told(1, "db", 1);
    instance.record(&event).await;
    let round = instance.round(event);
    for (device, origin) in [("1", Some("a")), ("2", None)] {
        instance.pending().waits(&chain(&round, device, origin, None)).await;
    }
    let own = fill(&instance.shared.retained, "a");
    router.resume().await;
    assert_eq!(resumed(&mut tasks), [(None, true)]);
    router.look().await;
    assert_eq!((resumed(&mut tasks), router.early.len()), (vec![], 1));
    drop(own);
    router.look().await;
    assert_eq!(resumed(&mut tasks), [(Some("a".into()), true)]);
    assert_eq!((router.left.len(), router.left_units), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_memory_stays_full_has_what_was_left_given_up() {
    let instance = Instance::alone().await;
    let (mut router, mut tasks) = instance.router();
    let event = told(1, "db", 1);
    instance.record(&event).await;
    instance.pending().waits(&chain(&instance.round(event), "1", Some("a"), None)).await;
    let _own = fill(&instance.shared.retained, "a");
    router.resume().await;
    assert_eq!((resumed(&mut tasks), router.left.len()), (vec![], 1));
    sleep(Duration::from_secs(60 * 60 + 1)).await;
    router.look().await;
    assert_eq!((resumed(&mut tasks), router.left.len()), (vec![(Some("a".into()), false)], 0));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_comes_and_goes_during_a_takeover_is_noticed() {
    let backplane = Local::new();
    let (one, other) = (Instance::over(&backplane).await, Instance::over(&backplane).await);
    for number in 0..4 {
        other.record(&told(number, "db", 1)).await;
    }
    one.knows(2).await;
    other.go().await;
    one.knows(1).await;
    let (heirs, mut inherited) = mpsc::channel(1);
    let inheriting = tokio::spawn(inherit(Arc::clone(&one.shared), one.peers(), heirs));
    inherited.recv().await.expect("an event");
    // Two more are claimed, and the takeover waits.
    sleep(Duration::from_secs(10)).await;
    let third = Instance::over(&backplane).await;
    third.record(&told(9, "web", 1)).await;
    one.knows(2).await;
    third.go().await;
    one.knows(1).await;
    let mut next = async || {
        within(LIMIT, "an event is taken over", inherited.recv()).await.unwrap().map(|left| left.told.id)
    };
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.extend(next().await);
    }
    assert_eq!(ids, [1, 2, 3, 9].map(|number| told(number, "", 1).id));
    inheriting.abort();
}

#[tokio::test]
async fn resumed_chains_take_no_place_of_new_ones() {
    let instance = Instance::alone().await;
    let round = instance.round(told(1, "db", 1));
    let (mut waiting, counter) = (Waiting::default(), Arc::new(()));
    let place = |number: usize, resumed| chain(&round, &format!("{number}"), Some("a"), resumed);
    for number in 0..MOST_RESUMED {
        waiting.push(Instant::now(), place(number, Some(Arc::clone(&counter))));
    }
    // Of the same service, as many as are free beside those.
    let mut own = 0;
    while waiting.admits(&place(MOST_RESUMED + own, None)) {
        waiting.push(Instant::now(), place(MOST_RESUMED + own, None));
        own += 1;
    }
    assert_eq!(own, MOST_RESUMED / 2);
    let other = chain(&round, "other", Some("b"), None);
    assert!(waiting.admits(&other));
    while waiting.pop().is_some() {}
    assert_eq!(Arc::strong_count(&counter), 1);
}
