//! Tests of how a process goes on with the pushes that another one has left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use deadline::within;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep},
};

use super::{
    PushTarget,
    context::PushContext,
    device::{DeviceId, RegistrationId},
    device_registry::{DeviceBounds, DeviceRegistry, RoomRegistration},
    fanout::Fanout,
    job::PushJob,
    last_seen::LastSeen,
    memory::{MAX_QUEUED_UNITS, UNIT_BYTES},
    now,
    pending::{PendingPush, PendingPushes},
    queued_event::QueuedEvent,
    rate_limited_log::RateLimitedLog,
    retry_budget::{RetryBudget, RetryReservation},
    retry_queue::{MAX_RESUMED_JOBS, RetryQueue},
    scheduler::PushScheduler,
    takeover::take_over_orphans,
    worker::WorkerCommand,
};
use crate::{
    cluster::{Cluster, backplane::Local},
    engine::Engine,
    live::UserConnections,
    log::Journal,
    store::Memory,
    wire::Accepted,
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

const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The name of the only provider.
const PROVIDER: &str = "crow";

/// A node without a running scheduler.
struct Node {
    engine: Arc<Engine>,
    context: Arc<PushContext>,
    memory: Arc<Semaphore>,
}

impl Node {
    async fn single() -> Self {
        Self::of(Acme::server().store(Memory::new()).build().await.unwrap().engine())
    }

    async fn over(backplane: &Local) -> Self {
        Self::of(Acme::server().backplane(backplane.clone()).build().await.unwrap().engine())
    }

    fn of(engine: Arc<Engine>) -> Self {
        let registry = &engine.registry;
        let journal = || Arc::clone(registry.journal().unwrap());
        let expire_after = Duration::from_secs(3_600);
        let bounds =
            DeviceBounds { max_per_user: 2, max_per_address: 2, max_devices: 3, max_rooms: 2, expire_after };
        let device_journal = Journal::new(Arc::new(Memory::new()), &Handle::current());
        let context = Arc::new(PushContext {
            devices: DeviceRegistry::new(device_journal, bounds),
            directory: Arc::new(UserConnections::new(1)),
            last_seen: LastSeen::new(Duration::from_secs(1)),
            log: RateLimitedLog::default(),
            pending: Some(PendingPushes::new(journal(), registry.cluster().cloned())),
            hooks: None,
            retry_budget: RetryBudget::new(8, 8),
            is_draining: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
        });
        Node { engine, context, memory: Arc::new(Semaphore::new(MAX_QUEUED_UNITS)) }
    }

    fn pending(&self) -> &PendingPushes {
        self.context.pending.as_ref().unwrap()
    }

    fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(self.engine.registry.cluster().unwrap())
    }

    /// Returns a scheduler, and the commands that it sends to the worker of the only provider.
    fn scheduler(&self) -> (PushScheduler, mpsc::Receiver<WorkerCommand>) {
        let (worker, commands) = mpsc::channel(64);
        let (context, memory) = (Arc::clone(&self.context), Arc::clone(&self.memory));
        let workers = vec![(PROVIDER, worker)];
        (PushScheduler::new(context, &self.engine.registry, workers, memory), commands)
    }

    fn permit(&self, units: usize) -> OwnedSemaphorePermit {
        Arc::clone(&self.memory).try_acquire_many_owned(u32::try_from(units).unwrap()).unwrap()
    }

    fn fanout(&self, event: QueuedEvent) -> Arc<Fanout> {
        let (room, _) = self.engine.registry.declared("alerts").unwrap();
        Arc::new(Fanout::new(room, event, self.permit(1), None).unwrap())
    }

    /// Records an event that this node pushes.
    async fn record(&self, event: &QueuedEvent) {
        self.pending().update(event, None).await;
    }

    async fn scan(&self) -> Vec<PendingPush> {
        self.pending().scan().await.unwrap()
    }

    /// Leaves the deployment, as a node that ends.
    async fn leave(&self) {
        self.cluster().leave().await;
    }

    /// Waits until this node knows of `count` nodes, itself included.
    async fn knows_nodes(&self, count: usize) {
        let counted = async {
            while self.cluster().nodes().len() != count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(TEST_TIMEOUT, "nodes join and leave", counted).await.unwrap();
    }
}

/// Returns the event with a number, about a service, which takes `units` units of memory.
fn event(number: u64, service: &str, units: usize) -> QueuedEvent {
    let detail = "x".repeat((units - 1) * UNIT_BYTES);
    QueuedEvent {
        id: format!("{number:013}"),
        room_id: "alerts".to_owned(),
        event_name: "alert".to_owned(),
        data: format!(r#"{{"service":"{service}","detail":"{detail}"}}"#),
        from: "server".to_owned(),
        accepted: Accepted::new(None, format!("{number}"), now()),
        is_unconfirmed: false,
        progress: Default::default(),
        epoch: Some("epoch".to_owned()),
    }
}

/// Returns a job that waits for a retry.
fn job(fanout: &Arc<Fanout>, device: &str, origin: Option<&str>, resume_token: Option<Arc<()>>) -> PushJob {
    let device = DeviceId::new(PROVIDER, &PushTarget::Token(device.to_owned()));
    let registration = RoomRegistration { id: RegistrationId::new(device, 1), user_id: "alice".into() };
    PushJob {
        attempts: 1,
        is_recorded: true,
        origin: origin.map(Arc::from),
        resume_token,
        ..PushJob::new(Arc::clone(fanout), registration)
    }
}

/// Waits for the next fan-out that the worker is to start.
async fn next_started(commands: &mut mpsc::Receiver<WorkerCommand>) -> Arc<Fanout> {
    let next = async {
        loop {
            if let WorkerCommand::Start { fanout, .. } = commands.recv().await.expect("a command") {
                return fanout;
            }
        }
    };
    within(TEST_TIMEOUT, "a fan-out starts", next).await.unwrap()
}

/// Returns the origins of the jobs with which the worker is to go on, and whether they have a reservation.
fn resumed(commands: &mut mpsc::Receiver<WorkerCommand>) -> Vec<(Option<Arc<str>>, bool)> {
    let mut resumed = Vec::new();
    while let Ok(command) = commands.try_recv() {
        if let WorkerCommand::Resume(job) = command {
            resumed.push((job.origin.clone(), job.reservation.is_some()));
        }
    }
    resumed
}

fn fill(budget: &Arc<RetryBudget>, origin: &str) -> Vec<RetryReservation> {
    std::iter::from_fn(|| budget.reserve(Some(&origin.into()), 1)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_older_notification_is_not_pushed_after_a_newer_one() {
    let node = Node::single().await;
    let (mut scheduler, _commands) = node.scheduler();
    node.record(&event(1, "db", 1)).await;
    let taken = node.permit(MAX_QUEUED_UNITS - 1);
    scheduler.resume_all().await;
    let newer = node.fanout(event(2, "db", 1));
    scheduler.activate(&newer, None);
    drop(newer);
    // The newer one is finished now, and the older one gets its memory.
    scheduler.keep_house().await;
    drop(taken);
    scheduler.keep_house().await;
    let superseded: Vec<_> = scheduler.scheduled.values().map(|fanout| fanout.is_superseded()).collect();
    assert_eq!(superseded, [true]);
}

#[tokio::test(start_paused = true)]
async fn finished_fanouts_are_forgotten_if_no_older_ones_can_be_taken_over() {
    let node = Node::single().await;
    let (mut scheduler, _commands) = node.scheduler();
    scheduler.activate(&node.fanout(event(2, "db", 1)), None);
    scheduler.keep_house().await;
    assert!(scheduler.newest.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_without_memory_keeps_no_other_from_being_taken_over() {
    let node = Node::single().await;
    let (scheduler, mut commands) = node.scheduler();
    node.record(&event(1, "db", 8)).await;
    node.record(&event(2, "web", 1)).await;
    let _taken = node.permit(MAX_QUEUED_UNITS / 4 * 3 - 4);
    let (takeovers, takeover_receiver) = mpsc::channel(1);
    let (_offers, offer_receiver) = mpsc::channel(1);
    let (_drains, drain_receiver) = mpsc::channel(1);
    let pushes = node.scan().await;
    // The scheduler of a single node would read the records itself.
    for push in &pushes {
        node.pending().remove(vec![(push.event.id.clone(), None)]).await;
    }
    let running = tokio::spawn(scheduler.run(offer_receiver, takeover_receiver, drain_receiver));
    for push in pushes {
        within(TEST_TIMEOUT, "a push is taken over", takeovers.send(push))
            .await
            .unwrap()
            .expect("a scheduler");
    }
    assert_eq!(next_started(&mut commands).await.id(), event(2, "", 1).id);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn resumed_events_leave_memory_to_new_ones() {
    let node = Node::single().await;
    let (mut scheduler, _commands) = node.scheduler();
    for number in 0..4 {
        node.record(&event(number, &format!("{number}"), 1)).await;
    }
    let _taken = node.permit(MAX_QUEUED_UNITS / 4 * 3 - 2);
    scheduler.resume_all().await;
    assert_eq!((scheduler.scheduled.len(), scheduler.backlog.len()), (2, 2));
    assert_eq!(node.memory.available_permits(), MAX_QUEUED_UNITS / 4);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_another_node_takes_over_while_it_waits_for_memory_is_left_to_it() {
    let backplane = Local::new();
    let (one, other) = (Node::over(&backplane).await, Node::over(&backplane).await);
    let (mut scheduler, _commands) = one.scheduler();
    one.record(&event(1, "db", 1)).await;
    let taken = one.permit(MAX_QUEUED_UNITS);
    scheduler.resume(one.scan().await.pop().unwrap()).await;
    assert_eq!(scheduler.backlog.len(), 1);
    let mut push = other.scan().await.pop().unwrap();
    assert!(other.pending().claim(&mut push).await.unwrap());
    drop(taken);
    scheduler.keep_house().await;
    assert_eq!((scheduler.backlog.len(), scheduler.scheduled.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_device_without_retry_budget_waits_and_delays_no_other() {
    let node = Node::single().await;
    let (mut scheduler, mut commands) = node.scheduler();
    let event = event(1, "db", 1);
    node.record(&event).await;
    let fanout = node.fanout(event);
    for (device, origin) in [("1", Some("a")), ("2", None)] {
        node.pending().put_retry(&job(&fanout, device, origin, None)).await;
    }
    let taken = fill(&node.context.retry_budget, "a");
    scheduler.resume_all().await;
    assert_eq!(resumed(&mut commands), [(None, true)]);
    scheduler.keep_house().await;
    assert_eq!((resumed(&mut commands), scheduler.scheduled.len()), (vec![], 1));
    drop(taken);
    scheduler.keep_house().await;
    assert_eq!(resumed(&mut commands), [(Some("a".into()), true)]);
    assert_eq!((scheduler.backlog.len(), scheduler.backlog_units), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn retries_of_an_origin_whose_budget_stays_full_are_given_up() {
    let node = Node::single().await;
    let (mut scheduler, mut commands) = node.scheduler();
    let event = event(1, "db", 1);
    node.record(&event).await;
    node.pending().put_retry(&job(&node.fanout(event), "1", Some("a"), None)).await;
    let _taken = fill(&node.context.retry_budget, "a");
    scheduler.resume_all().await;
    assert_eq!((resumed(&mut commands), scheduler.backlog.len()), (vec![], 1));
    sleep(Duration::from_secs(60 * 60 + 1)).await;
    scheduler.keep_house().await;
    assert_eq!((resumed(&mut commands), scheduler.backlog.len()), (vec![(Some("a".into()), false)], 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_and_leaves_during_a_takeover_is_noticed() {
    let backplane = Local::new();
    let (one, other) = (Node::over(&backplane).await, Node::over(&backplane).await);
    for number in 0..4 {
        other.record(&event(number, "db", 1)).await;
    }
    one.knows_nodes(2).await;
    other.leave().await;
    one.knows_nodes(1).await;
    let (takeovers, mut takeover_receiver) = mpsc::channel(1);
    let running = tokio::spawn(take_over_orphans(Arc::clone(&one.context), one.cluster(), takeovers));
    takeover_receiver.recv().await.expect("an event");
    // Two more are claimed, and then the full channel stops the takeover.
    sleep(Duration::from_secs(10)).await;
    let third = Node::over(&backplane).await;
    third.record(&event(9, "web", 1)).await;
    one.knows_nodes(2).await;
    third.leave().await;
    one.knows_nodes(1).await;
    let mut next = async || {
        let next = within(TEST_TIMEOUT, "an event is taken over", takeover_receiver.recv());
        next.await.unwrap().map(|push| push.event.id)
    };
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.extend(next().await);
    }
    assert_eq!(ids, [1, 2, 3, 9].map(|number| event(number, "", 1).id));
    running.abort();
}

#[tokio::test]
async fn resumed_jobs_take_no_places_of_new_ones() {
    let node = Node::single().await;
    let fanout = node.fanout(event(1, "db", 1));
    let (mut queue, resume_token) = (RetryQueue::default(), Arc::new(()));
    let of_a = |number: usize, token| job(&fanout, &format!("{number}"), Some("a"), token);
    for number in 0..MAX_RESUMED_JOBS {
        queue.push(Instant::now(), of_a(number, Some(Arc::clone(&resume_token))));
    }
    // New jobs of the same service have as many places as are free beside those.
    let mut new = 0;
    while queue.admits(&of_a(MAX_RESUMED_JOBS + new, None)) {
        queue.push(Instant::now(), of_a(MAX_RESUMED_JOBS + new, None));
        new += 1;
    }
    assert_eq!(new, MAX_RESUMED_JOBS / 2);
    let other = job(&fanout, "other", Some("b"), None);
    assert!(queue.admits(&other));
    while queue.pop().is_some() {}
    assert_eq!(Arc::strong_count(&resume_token), 1);
}
