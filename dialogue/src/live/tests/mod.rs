//! The fixtures of this module's tests, and tests with many concurrent clients of one room.

mod deletion;
mod full;
mod loading;
mod migration;

use std::{
    io::{self, IoSlice},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{runtime::Handle, sync::oneshot, task::JoinSet};

use super::{
    registry::MAX_LISTED_SCANS,
    room::{JoinStep, ResumeEvidence},
    *,
};
use crate::{
    Refusal, RoomRef,
    event::{DeliveryClass, Sender},
    identity::{User, provides::IdentityRequirement},
    log::StoredId,
    observe::{EventOrigin, Meter, Source, Traces},
    room::{Channel, EventKind, Retention, RoomOptions},
    wire::{Accepted, Encoding, EventIndex, Position, RoomIndex},
};

pub(super) const MESSAGE: EventIndex = EventIndex::at(0);
pub(super) const TYPING: EventIndex = EventIndex::at(1);
pub(super) const PRICE: EventIndex = EventIndex::at(2);
/// The evidence of a room without a store.
const NO_EVIDENCE: ResumeEvidence =
    ResumeEvidence { stored_id: StoredId::NotRead, is_probed: false, is_deletion_withdrawn: false };

/// A room with an event of each class.
pub(super) fn room(name: &'static str, keyed: bool, options: RoomOptions) -> RoomSpec {
    let kind = |name, class| EventKind {
        name,
        class,
        sender: Sender::Anyone,
        shape: "",
        retention: None,
        push: None,
    };
    RoomSpec {
        index: RoomIndex::at(0),
        name,
        keyed,
        options,
        identity: IdentityRequirement::NONE,
        channels: &[Channel::WebSocket, Channel::Sse],
        events: vec![
            kind("message", DeliveryClass::Durable),
            kind("typing", DeliveryClass::Ephemeral),
            kind("price", DeliveryClass::Latest),
        ],
        meter: Meter::default(),
        traces: Traces::default(),
    }
}

/// Reads text frames; panics if they aren't whole.
pub(super) fn frames(wire: &[u8]) -> Vec<Value> {
    let (read, rest) = whole_frames(wire);
    assert!(rest.is_empty(), "half a frame: {rest:?}");
    read
}

/// Reads text frames up to one that isn't whole.
fn whole_frames(mut wire: &[u8]) -> (Vec<Value>, &[u8]) {
    let mut read = Vec::new();
    while let [0x81, len, rest @ ..] = wire {
        let (len, rest) = match (len, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (126, _) => break,
            _ => (usize::from(*len), rest),
        };
        let Some((json, rest)) = rest.split_at_checked(len) else { break };
        read.push(serde_json::from_slice(json).expect("a frame is JSON"));
        wire = rest;
    }
    (read, wire)
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let arrived = deadline::within(Duration::from_secs(60), what, future).await;
    arrived.unwrap_or_else(|late| panic!("{late}"))
}

/// A socket that takes a random part of each write, or nothing.
#[derive(Default)]
struct FlakySocket(Mutex<Vec<u8>>);

impl DirectWriter for Arc<FlakySocket> {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let taken = if fastrand::bool() { offered } else { fastrand::usize(..=offered) };
        if taken == 0 && offered > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.lock().extend(slices.iter().flat_map(|slice| slice.iter()).take(taken));
        Ok(taken)
    }
}

/// A client, with the task that a connection has.
struct Client {
    outbox: Arc<Outbox>,
    socket: Arc<FlakySocket>,
    handle: Arc<ConnectionHandle>,
}

impl Client {
    fn new(id: u64) -> Self {
        let socket = Arc::new(FlakySocket::default());
        let direct: Box<dyn DirectWriter> = Box::new(Arc::clone(&socket));
        let outbox = Outbox::new(ConnectionId(id), Encoding::WebSocket, 1 << 20, Some(direct), Vec::new());
        tokio::spawn(write(Arc::clone(&outbox)));
        let user = User {
            id: format!("user{}", id % 5).into(),
            authenticated: None,
            anonymous_token: None,
            is_new: false,
        };
        Client { handle: ConnectionHandle::new(Arc::clone(&outbox), user), outbox, socket }
    }

    fn joining(&self, since: Option<Position>) -> JoinRequest {
        JoinRequest {
            handle: Arc::clone(&self.handle),
            options: JoinOptions { since, ..JoinOptions::default() },
            is_migrating: false,
        }
    }

    async fn join(&self, registry: &Arc<Registry>, room_id: &str, since: Option<Position>) {
        let room = Arc::clone(registry.declared(room_id).expect("a room").0);
        loop {
            let join = self.joining(since.clone());
            match registry
                .run(&room, room_id, move |core| core.join(&join, NO_EVIDENCE, &RoomInstanceInfo::default()))
                .await
            {
                Ok(JoinStep::Joined { .. }) => return,
                Ok(JoinStep::Closed) => tokio::task::yield_now().await,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Returns the frames that the client was sent, up to the last whole one; waits until they satisfy `ends`.
    async fn seen(&self, ends: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let seeing = async {
            loop {
                let frames = whole_frames(&self.socket.0.lock()).0;
                if ends(&frames) {
                    return frames;
                }
                tokio::task::yield_now().await;
            }
        };
        soon("a frame", seeing).await
    }
}

/// Drives an outbox as a connection's task does.
async fn write(outbox: Arc<Outbox>) {
    loop {
        std::future::poll_fn(|cx| outbox.poll_writable_work(cx)).await;
        while outbox.flush() == FlushStatus::Blocked {
            tokio::task::yield_now().await;
        }
        if matches!(outbox.flush(), FlushStatus::Closed(_)) {
            return;
        }
    }
}

fn registry(rooms: Vec<RoomSpec>) -> Arc<Registry> {
    Registry::new(
        rooms.into_iter().map(Arc::new).collect(),
        1_000,
        NewRoomBounds::default(),
        None,
        Handle::current(),
    )
}

fn event(index: EventIndex, data: &str) -> (PublishRequest, oneshot::Receiver<PublishOutcome>) {
    let (reply, answer) = oneshot::channel();
    let event = NewEvent {
        index,
        data: data.to_owned(),
        conflation_key: None,
        from: "a".into(),
        server: false,
        meta: None,
        key: None,
        event_id: None,
    };
    let origin = EventOrigin::now(&Meter::default(), Source::Server, tracing::Span::none());
    (PublishRequest { event, origin, sender_outbox: None, reply: PublishReply::Accepted(reply) }, answer)
}

async fn publish(registry: &Arc<Registry>, room_id: &str, kind: EventIndex, data: &str) -> Accepted {
    let room = Arc::clone(registry.declared(room_id).expect("a room").0);
    let (publish, answer) = event(kind, data);
    registry.publish(&room, room_id, publish, None).await.expect("there is room");
    answer.await.expect("an answer").expect("accepted").0
}

fn numbers(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame["seq"].as_u64().filter(|_| frame["type"] == "event")).collect()
}

/// Asserts that the events follow on a position without a hole.
fn assert_follows(frames: &[Value], after: u64) {
    let numbers = numbers(frames);
    let expected: Vec<u64> = (after + 1..).take(numbers.len()).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_receives_all_events_in_order() {
    const EACH: u64 = 150;
    let options = RoomOptions::new().retain(Retention::new().events(100_000));
    let registry = registry(vec![room("chat", false, options)]);
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let registry = Arc::clone(&registry);
        tasks.spawn(async move {
            for _ in 0..EACH {
                publish(&registry, "chat", MESSAGE, r#"{"text":"some words"}"#).await;
            }
        });
    }
    for id in 1..20 {
        let registry = Arc::clone(&registry);
        tasks.spawn(async move {
            // Reads for a while, then again from where that ended, on another connection.
            let first = Client::new(id);
            first.join(&registry, "chat", None).await;
            let seen = first
                .seen(|frames| numbers(frames).len() >= 5 || numbers(frames).contains(&(4 * EACH)))
                .await;
            assert_follows(&seen, seen[0]["seq"].as_u64().expect("joined"));
            let instance = registry.find("chat").expect("it stays");
            let gone = first.outbox.id();
            instance.enqueue(RoomChange::Unlisten(gone));
            let Some(last) = seen.iter().rfind(|frame| frame["type"] == "event") else { return };
            let text = |field: &Value| field.as_str().expect("text").to_owned();
            let (seq, event_id) = (last["seq"].as_u64().expect("numbered"), text(&last["eventId"]));
            let second = Client::new(100 + id);
            let since = Position { epoch: text(&seen[0]["epoch"]), seq, event_id };
            second.join(&registry, "chat", Some(since)).await;
            let rest = second.seen(|frames| seq == 4 * EACH || numbers(frames).contains(&(4 * EACH))).await;
            assert_eq!((&rest[0]["type"], &rest[0]["resume"]), (&"joined".into(), &"complete".into()));
            assert_follows(&rest, seq);
        });
    }
    soon("all are done", tasks.join_all()).await;
    let instance = registry.find("chat").expect("it stays");
    let head = instance.run(|core| core.members_frame(None, 100, None)).await.expect("it runs");
    let members: Value = serde_json::from_slice(&head.json).expect("JSON");
    let connections: u64 = members["members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["connections"].as_u64())
        .sum();
    assert_eq!(usize::try_from(connections), Ok(instance.size()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replay_of_many_pages_goes_on_live_without_a_hole() {
    let options = RoomOptions::new().retain(Retention::new().events(1_000));
    let (registry, client) = (registry(vec![room("chat", false, options)]), Client::new(1));
    let data = format!("{:1000}", 1);
    for _ in 0..300 {
        publish(&registry, "chat", MESSAGE, &data).await;
    }
    let first = Client::new(2);
    first.join(&registry, "chat", None).await;
    let epoch = first.seen(|frames| !frames.is_empty()).await[0]["epoch"].as_str().expect("text").to_owned();
    let live = Arc::clone(&registry);
    let publishing = tokio::spawn(async move {
        for _ in 0..100 {
            publish(&live, "chat", MESSAGE, "1").await;
        }
    });
    client.join(&registry, "chat", Some(Position { epoch, seq: 0, event_id: String::new() })).await;
    let seen = client.seen(|frames| numbers(frames).contains(&400)).await;
    assert_follows(&seen, 0);
    publishing.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_member_is_left_in_a_closed_instance() {
    let registry = registry(vec![room("project", true, RoomOptions::new())]);
    let mut tasks = JoinSet::new();
    for id in 1..9 {
        let registry = Arc::clone(&registry);
        tasks.spawn(async move {
            for round in 0..60 {
                let (client, room_id) = (Client::new(id * 1_000 + round), format!("project:{}", round % 2));
                client.join(&registry, &room_id, None).await;
                let data = client.outbox.id().0;
                // An ephemeral event leaves no trace, so that the room closes with its last member.
                publish(&registry, &room_id, TYPING, &data.to_string()).await;
                client.seen(|frames| frames.iter().any(|frame| frame["data"] == data)).await;
                let instance = registry.find(&room_id).expect("its member is in");
                let connection = client.outbox.id();
                instance.run(move |core| core.leave(connection)).await;
            }
        });
    }
    soon("all are done", tasks.join_all()).await;
    let gone = async {
        while !registry.list(None, |_, _| true, 10).await.expect("memory lists").rooms.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon("all are retired", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deleted_room_can_be_created_again_at_once() {
    let registry = registry(vec![room("project", true, RoomOptions::new())]);
    let room = Arc::clone(registry.declared("project:1").expect("declared").0);
    let mut last = None;
    for _ in 0..200 {
        let instance = registry
            .create(
                &room,
                "project:1",
                RoomInstanceInfo { created: true, ..RoomInstanceInfo::default() },
                1,
                None,
            )
            .await
            .expect("there is none");
        let client = Client::new(1);
        client.join(&registry, "project:1", None).await;
        let epoch = client.seen(|frames| !frames.is_empty()).await[0]["epoch"].clone();
        assert_ne!(last.replace(epoch.clone()), Some(epoch), "it passes for the one before");
        instance.run(|core| core.close_deleted("gone")).await.expect("it is there");
        client.seen(|frames| frames.iter().any(|frame| frame["type"] == "left")).await;
    }
}

#[tokio::test]
async fn a_catch_up_follows_all_that_came_in_before_it_was_requested() {
    let registry = registry(vec![room("chat", false, RoomOptions::new())]);
    let room = Arc::clone(registry.declared("chat").expect("declared").0);
    let instance = registry.find_or_open(&room, "chat", None).expect("there is room");
    let (begun, is_paused) = oneshot::channel();
    let (resume, paused) = oneshot::channel();
    instance.enqueue(RoomCommand::Pause(begun, paused));
    is_paused.await.expect("it begins");
    let requests = {
        let instance = Arc::clone(&instance);
        move |_: &mut RoomCore| instance.catch_up_requests.load(std::sync::atomic::Ordering::Acquire)
    };
    instance.catch_up();
    let between = tokio::spawn({
        let (instance, requests) = (Arc::clone(&instance), requests.clone());
        async move { instance.run(requests).await }
    });
    // It is queued behind the catch-up, and before the next request.
    tokio::task::yield_now().await;
    instance.catch_up();
    drop(resume);
    assert_eq!(between.await.expect("it ends"), Some(1), "no catch-up is queued behind it");
    assert_eq!(instance.run(requests).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_driver_that_panics_leaves_no_caller_waiting() {
    let registry = registry(vec![room("chat", false, RoomOptions::new())]);
    let client = Client::new(1);
    client.join(&registry, "chat", None).await;
    let before = client.seen(|frames| !frames.is_empty()).await;
    let instance = registry.find("chat").expect("it is joined");
    let mut asking = JoinSet::new();
    instance.enqueue(RoomCommand::run::<()>(|_| panic!("as a bug does"), None));
    for _ in 0..100 {
        let instance = Arc::clone(&instance);
        asking.spawn(async move { while instance.barrier().await.is_some() {} });
    }
    soon("all are answered", asking.join_all()).await;
    soon("its readers are cut", write(Arc::clone(&client.outbox))).await;
    let again = Client::new(2);
    again.join(&registry, "chat", None).await;
    let after = again.seen(|frames| !frames.is_empty()).await;
    assert_ne!(before[0]["epoch"], after[0]["epoch"]);
}

#[tokio::test(start_paused = true)]
async fn a_sender_waits_for_inbox_space_but_not_for_ever() {
    // Nothing runs this runtime: its rooms' drivers never run.
    let still = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let registry = Registry::new(
        vec![Arc::new(room("chat", false, RoomOptions::new()))],
        1,
        NewRoomBounds::default(),
        None,
        still.handle().clone(),
    );
    let room = Arc::clone(registry.declared("chat").expect("declared").0);
    let large = "x".repeat(5 << 20);
    registry.publish(&room, "chat", event(MESSAGE, &large).0, None).await.expect("there is room");
    let refused = registry.publish(&room, "chat", event(MESSAGE, "1").0, None).await;
    assert_eq!(refused.map_err(|refusal| refusal.code), Err(crate::Code::Unavailable));
    still.shutdown_background();
}

#[tokio::test]
async fn a_sender_goes_on_when_the_inbox_has_space() {
    let registry = registry(vec![room("chat", false, RoomOptions::new())]);
    let mut waiting = JoinSet::new();
    for _ in 0..8 {
        let registry = Arc::clone(&registry);
        waiting.spawn(async move { publish(&registry, "chat", MESSAGE, &"1".repeat(5 << 20)).await.seq });
    }
    let mut accepted = soon("all are accepted", waiting.join_all()).await;
    accepted.sort();
    assert_eq!(accepted, (1..=8).map(Some).collect::<Vec<_>>());
}

/// A connection that takes nothing.
fn stalled(id: u64) -> Arc<ConnectionHandle> {
    let outbox = Outbox::new(ConnectionId(id), Encoding::WebSocket, 1 << 20, None, Vec::new());
    ConnectionHandle::new(
        outbox,
        User { id: "stalled".into(), authenticated: None, anonymous_token: None, is_new: false },
    )
}

#[tokio::test]
async fn a_trigger_without_an_id_is_answered_with_an_error_when_its_room_was_deleted() {
    let registry = registry(vec![room("project", true, RoomOptions::new())]);
    let declared = Arc::clone(registry.declared("project:1").expect("declared").0);
    let client = Client::new(1);
    let reply = PublishReply::Frame(Arc::clone(&client.outbox), None);
    let publish = PublishRequest { reply, ..event(MESSAGE, "1").0 };
    let delete = |core: &mut RoomCore| (core.close_deleted("gone"), core.accept(publish));
    registry
        .push(&declared, "project:1", RoomCommand::run(move |core| drop(delete(core)), None))
        .expect("it is made");
    let sent = client.seen(|frames| !frames.is_empty()).await;
    assert_eq!((&sent[0]["code"], sent[0].get("id")), (&"ROOM_NOT_FOUND".into(), None));
}

#[tokio::test]
async fn an_event_that_passed_middleware_is_refused_once_its_member_was_removed() {
    let registry = registry(vec![room("chat", false, RoomOptions::new())]);
    let declared = Arc::clone(registry.declared("chat").expect("declared").0);
    let client = Client::new(1);
    client.join(&registry, "chat", None).await;
    let handle = Arc::clone(&client.handle);
    let was_in = registry.run(&declared, "chat", move |core| core.remove(&handle, "enough")).await;
    assert!(was_in.expect("it runs"));
    let (publish, answer) = event(MESSAGE, "1");
    let publish = PublishRequest { sender_outbox: Some(Arc::clone(&client.outbox)), ..publish };
    registry.publish(&declared, "chat", publish, None).await.expect("there is room");
    let refusal = answer.await.expect("an answer").expect_err("it was put out");
    assert_eq!(refusal.code, crate::Code::NotInRoom);
}

#[tokio::test(start_paused = true)]
async fn a_held_event_of_a_removed_member_is_refused_before_the_member_is_told() {
    let mut options = RoomOptions::new();
    options.wait = Some(Duration::from_secs(60));
    let registry = registry(vec![room("chat", false, options)]);
    let declared = Arc::clone(registry.declared("chat").expect("declared").0);
    let client = Client::new(1);
    client.join(&registry, "chat", None).await;
    let instance = registry.find("chat").expect("it stays");
    let now = instance.clock.now();
    instance.run(move |core| core.mark_uncertain(now)).await.expect("it runs");
    let reply = PublishReply::Frame(Arc::clone(&client.outbox), Some("7".into()));
    let publish = PublishRequest { reply, ..event(MESSAGE, "1").0 };
    registry.publish(&declared, "chat", publish, None).await.expect("there is room");
    let (handle, reason) = (Arc::clone(&client.handle), Some("enough".to_owned()));
    let was_in = instance.request(|reply| RoomChange::Remove { handle, reason, reply }).await;
    assert_eq!(was_in, Some(true));
    let seen = client.seen(|frames| frames.len() > 2).await;
    let kinds: Vec<_> = seen.iter().map(|frame| (&frame["type"], frame.get("code"))).collect();
    let refused = ("error".into(), Some("NOT_IN_ROOM".into()));
    assert_eq!(kinds[1], (&refused.0, refused.1.as_ref()));
    assert_eq!(seen[2]["type"], "left");
}

#[tokio::test]
async fn a_replay_ends_with_its_membership_and_is_never_two() {
    let options = RoomOptions::new().retain(Retention::new().events(1_000));
    let registry = registry(vec![room("chat", false, options)]);
    let declared = Arc::clone(registry.declared("chat").expect("declared").0);
    for _ in 0..10 {
        publish(&registry, "chat", MESSAGE, &format!("{:50000}", 1)).await;
    }
    let epoch = registry.run(&declared, "chat", |core| core.epoch().clone()).await.expect("it runs");
    let (handle, since) =
        (stalled(1), |seq| Some(Position { epoch: epoch.to_string(), seq, event_id: String::new() }));
    let replays = async |since: Option<Position>| {
        let join = JoinRequest {
            handle: Arc::clone(&handle),
            options: JoinOptions { since, ..JoinOptions::default() },
            is_migrating: false,
        };
        let step = registry
            .run(&declared, "chat", move |core| core.join(&join, NO_EVIDENCE, &RoomInstanceInfo::default()))
            .await;
        assert!(matches!(step, Ok(JoinStep::Joined { .. })));
        handle.outbox.replays()
    };
    assert_eq!([replays(since(0)).await, replays(since(1)).await, replays(since(10)).await], [1, 1, 0]);
    assert_eq!(replays(since(0)).await, 1);
    let connection = handle.id();
    registry.run(&declared, "chat", move |core| core.leave(connection)).await.expect("it runs");
    assert_eq!(handle.outbox.replays(), 0);

    let (idle, instance) = (stalled(2), registry.find("chat").expect("it stays"));
    (0..2).for_each(|_| idle.outbox.start_replay(&instance));
    assert_eq!(instance.queued_commands(), 1);
}

#[tokio::test]
async fn a_second_join_tells_what_a_replay_still_sends() {
    let registry = registry(vec![room("chat", false, RoomOptions::new())]);
    let declared = Arc::clone(registry.declared("chat").expect("declared").0);
    for _ in 0..10 {
        publish(&registry, "chat", MESSAGE, "1").await;
    }
    let epoch = registry.run(&declared, "chat", |core| core.epoch().clone()).await.expect("it runs");
    let client = Client::new(1);
    let position = Position { epoch: epoch.to_string(), seq: 3, event_id: String::new() };
    let joins = [Some(position), None].map(|since| JoinRequest {
        handle: Arc::clone(&client.handle),
        options: JoinOptions { since, ..JoinOptions::default() },
        is_migrating: false,
    });
    let both = registry.run(&declared, "chat", move |core| {
        joins.each_ref().map(|join| core.join(join, NO_EVIDENCE, &RoomInstanceInfo::default()))
    });
    assert!(matches!(both.await, Ok([JoinStep::Joined { .. }, JoinStep::Joined { .. }])));
    let seen = client.seen(|frames| numbers(frames).contains(&10)).await;
    let joined: Vec<_> = seen.iter().filter(|frame| frame["type"] == "joined").collect();
    for (joined, resume) in joined.into_iter().zip(["complete", "fresh"]) {
        assert!(joined["resume"] == resume && joined["replay"] == 7, "{joined}");
    }
    assert_follows(&seen, 3);
}

#[tokio::test]
async fn a_list_of_rooms_is_bounded_by_bytes_and_leaves_none_out() {
    let registry = registry(vec![room("project", true, RoomOptions::new())]);
    let declared = Arc::clone(registry.declared("project:1").expect("declared").0);
    for n in 0..300 {
        // Six times as long as JSON.
        let info = RoomInstanceInfo {
            description: Some("\u{1}".repeat(1_024)),
            created: true,
            ..Default::default()
        };
        registry.create(&declared, &format!("project:{n}"), info, 1, None).await.expect("there is room");
    }
    let (mut listed, mut last) = (0, None::<String>);
    loop {
        let page = registry.list(last.as_deref(), |_, _| true, 1_000).await.expect("memory lists");
        assert!(serde_json::to_string(&page.rooms).expect("JSON").len() < 300 << 10);
        listed += page.rooms.len();
        last = page.rooms.last().map(|room| room.room_id.clone());
        if !page.more {
            return assert_eq!(listed, 300);
        }
    }
}

#[tokio::test]
async fn a_list_scans_a_bounded_number_of_hidden_rooms_and_returns_where_to_go_on() {
    const ROOMS: usize = 3 * MAX_LISTED_SCANS;
    let declared = Arc::new(room("project", true, RoomOptions::new()));
    let registry =
        Registry::new(vec![Arc::clone(&declared)], ROOMS, NewRoomBounds::default(), None, Handle::current());
    for n in 0..ROOMS {
        let info = RoomInstanceInfo { created: true, ..Default::default() };
        registry.create(&declared, &format!("project:{n:05}"), info, 1, None).await.expect("there is room");
    }
    let seen = [format!("project:{:05}", ROOMS / 2), format!("project:{:05}", ROOMS - 1)];
    let (mut listed, mut after, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let mut looks = 0;
        let visible = |room: RoomRef<'_>, _: &RoomSpec| {
            looks += 1;
            seen.iter().any(|id| id == room.id)
        };
        let page = registry.list(after.as_deref(), visible, 1_000).await.expect("memory lists");
        assert!(looks <= MAX_LISTED_SCANS, "{looks}");
        pages += 1;
        listed.extend(page.rooms.into_iter().map(|room| room.room_id));
        assert_eq!(page.more, page.scanned_to.is_some());
        after = page.scanned_to.map(|room_id| room_id.to_string());
        if after.is_none() {
            break;
        }
    }
    assert_eq!((listed, pages), (seen.to_vec(), 3));
}

#[tokio::test]
async fn past_the_bound_the_longest_empty_instance_is_evicted() {
    let spec = Arc::new(room("project", true, RoomOptions::new()));
    // One more than the bound, since each declaration adds one.
    let registry =
        Registry::new(vec![Arc::clone(&spec)], 2, NewRoomBounds::default(), None, Handle::current());
    let client = Client::new(1);
    client.join(&registry, "project:1", None).await;
    registry
        .create(&spec, "project:2", RoomInstanceInfo { created: true, ..Default::default() }, 9, None)
        .await
        .expect("made");
    for n in 3..9 {
        publish(&registry, &format!("project:{n}"), MESSAGE, "1").await;
        while !registry.find(&format!("project:{n}")).expect("it is new").is_idle() {
            tokio::task::yield_now().await;
        }
    }
    let ids: Vec<_> = registry
        .list(None, |_, _| true, 9)
        .await
        .expect("memory lists")
        .rooms
        .into_iter()
        .map(|room| room.room_id)
        .collect();
    assert_eq!(ids, ["project:1", "project:2", "project:8"]);
    let opener = Opener { user: "mallory".into(), address: None };
    let make =
        |id: &str| registry.find_or_open(&spec, id, Some(&opener)).map(drop).map_err(|refusal| refusal.code);
    client.join(&registry, "project:8", None).await;
    assert_eq!(make("project:9"), Err(crate::Code::TooMany));
    publish(&registry, "project:9", MESSAGE, "1").await;
    let created = RoomInstanceInfo { created: true, ..Default::default() };
    registry.create(&spec, "project:10", created.clone(), 9, None).await.expect("it is the application's");
    let more = registry.create(&spec, "project:11", created, 9, None).await;
    assert_eq!(more.map(drop).map_err(|refusal| refusal.code), Err(crate::Code::TooMany));
}
