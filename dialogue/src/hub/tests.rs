//! What the tests of this floor share, and what many do at once to one room.

mod full;
mod moving;

use std::{
    io::{self, IoSlice},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{runtime::Handle, sync::oneshot, task::JoinSet};

use super::{registry::LIST_LOOKS, *};
use crate::{
    Accepted, Channel, DeliveryClass, IdentityRequirement, Position, Refusal, Retention, RoomOptions,
    RoomRef, Sender,
    identity::User,
    observe::{Meter, Origin, Source, Traces},
    room::EventKind,
    wire::Encoding,
};

pub(super) const MESSAGE: u8 = 0;
pub(super) const TYPING: u8 = 1;
pub(super) const PRICE: u8 = 2;

/// A room with an event of each class.
pub(super) fn room(name: &'static str, keyed: bool, options: RoomOptions) -> RoomDecl {
    let kind = |name, class| EventKind {
        name,
        class,
        sender: Sender::Anyone,
        shape: "",
        retention: None,
        push: None,
    };
    RoomDecl {
        index: 0,
        name,
        keyed,
        options,
        asked: IdentityRequirement::NONE,
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

/// A socket that takes what it likes, or nothing.
#[derive(Default)]
struct Moody(Mutex<Vec<u8>>);

impl Direct for Arc<Moody> {
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
    socket: Arc<Moody>,
    link: Arc<Link>,
}

impl Client {
    fn new(id: u64) -> Self {
        let socket = Arc::new(Moody::default());
        let direct: Box<dyn Direct> = Box::new(Arc::clone(&socket));
        let outbox = Outbox::new(ConnectionId(id), Encoding::WebSocket, 1 << 20, Some(direct), Vec::new());
        tokio::spawn(write(Arc::clone(&outbox)));
        let user = User {
            id: format!("user{}", id % 5).into(),
            authenticated: None,
            anonymous_token: None,
            is_new: false,
        };
        Client { link: Link::new(Arc::clone(&outbox), user), outbox, socket }
    }

    fn joining(&self, since: Option<Position>) -> Join {
        Join {
            link: Arc::clone(&self.link),
            slot: 0,
            wanted: None,
            since,
            seen: None,
            looked: false,
            moved: false,
            id: None,
        }
    }

    async fn join(&self, registry: &Arc<Registry>, room_id: &str, since: Option<Position>) {
        let room = Arc::clone(registry.declared(room_id).expect("a room").0);
        loop {
            let join = self.joining(since.clone());
            match registry.run(&room, room_id, move |state| state.join(join)).await {
                Ok(Ok(_)) => return,
                Ok(Err(NotJoined::Gone)) => tokio::task::yield_now().await,
                other => panic!("{other:?}"),
            }
        }
    }

    /// What it was sent, up to the last whole frame; waits until that `ends`.
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

/// As a connection does.
async fn write(outbox: Arc<Outbox>) {
    loop {
        std::future::poll_fn(|cx| outbox.poll_trouble(cx)).await;
        while outbox.flush() == Progress::Blocked {
            tokio::task::yield_now().await;
        }
        if matches!(outbox.flush(), Progress::Cut(_)) {
            return;
        }
    }
}

fn registry(rooms: Vec<RoomDecl>) -> Arc<Registry> {
    Registry::new(
        rooms.into_iter().map(Arc::new).collect(),
        1_000,
        NewBounds::default(),
        None,
        Handle::current(),
    )
}

fn event(event: u8, data: &str) -> (Publish, oneshot::Receiver<Result<Accepted, Refusal>>) {
    let (reply, answer) = oneshot::channel();
    let (data, reply) = (data.to_owned(), Reply::Wait(reply));
    let publish = Publish {
        event,
        data,
        conflated: None,
        from: "a".into(),
        server: false,
        meta: None,
        key: None,
        origin: Origin::now(&Meter::default(), Source::Server, tracing::Span::none()),
        event_id: None,
        by: None,
        reply,
    };
    (publish, answer)
}

async fn publish(registry: &Arc<Registry>, room_id: &str, kind: u8, data: &str) -> Accepted {
    let room = Arc::clone(registry.declared(room_id).expect("a room").0);
    let (publish, answer) = event(kind, data);
    registry.publish(&room, room_id, publish, None).await.expect("there is room");
    answer.await.expect("an answer").expect("accepted")
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
async fn whoever_stays_sees_all_in_order() {
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
            // Once for a while, then again from where that ended, on another connection.
            let first = Client::new(id);
            first.join(&registry, "chat", None).await;
            let seen = first
                .seen(|frames| numbers(frames).len() >= 5 || numbers(frames).contains(&(4 * EACH)))
                .await;
            assert_follows(&seen, seen[0]["seq"].as_u64().expect("joined"));
            let instance = registry.find("chat").expect("it stays");
            let gone = first.outbox.id();
            instance.cast(move |state| _ = state.leave(gone));
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
    let head = instance.run(|state| state.members(None, 100, None)).await.expect("it runs");
    let members: Value = serde_json::from_slice(&head).expect("JSON");
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
async fn nobody_is_left_in_an_instance_that_went() {
    let registry = registry(vec![room("project", true, RoomOptions::new())]);
    let mut tasks = JoinSet::new();
    for id in 1..9 {
        let registry = Arc::clone(&registry);
        tasks.spawn(async move {
            for round in 0..60 {
                let (client, room_id) = (Client::new(id * 1_000 + round), format!("project:{}", round % 2));
                client.join(&registry, &room_id, None).await;
                let data = client.outbox.id().0;
                // Leaves no trace, so that the room goes with its last member.
                publish(&registry, &room_id, TYPING, &data.to_string()).await;
                client.seen(|frames| frames.iter().any(|frame| frame["data"] == data)).await;
                let instance = registry.find(&room_id).expect("its member is in");
                let connection = client.outbox.id();
                instance.run(move |state| state.leave(connection)).await;
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
async fn a_room_that_was_deleted_can_be_made_again_at_once() {
    let registry = registry(vec![room("project", true, RoomOptions::new())]);
    let room = Arc::clone(registry.declared("project:1").expect("declared").0);
    let mut last = None;
    for _ in 0..200 {
        let instance = registry
            .create(&room, "project:1", InstanceInfo { created: true, ..InstanceInfo::default() }, 1, None)
            .await
            .expect("there is none");
        let client = Client::new(1);
        client.join(&registry, "project:1", None).await;
        let epoch = client.seen(|frames| !frames.is_empty()).await[0]["epoch"].clone();
        assert_ne!(last.replace(epoch.clone()), Some(epoch), "it passes for the one before");
        instance.run(|state| state.end("gone")).await.expect("it is there");
        client.seen(|frames| frames.iter().any(|frame| frame["type"] == "left")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_writer_that_panics_leaves_nobody_waiting() {
    let registry = registry(vec![room("chat", false, RoomOptions::new())]);
    let client = Client::new(1);
    client.join(&registry, "chat", None).await;
    let before = client.seen(|frames| !frames.is_empty()).await;
    let instance = registry.find("chat").expect("it is joined");
    let mut asking = JoinSet::new();
    instance.cast(|_| panic!("as a bug does"));
    for _ in 0..100 {
        let instance = Arc::clone(&instance);
        asking.spawn(async move { while instance.run(|_| ()).await.is_some() {} });
    }
    soon("all are told", asking.join_all()).await;
    soon("its readers are cut", write(Arc::clone(&client.outbox))).await;
    let again = Client::new(2);
    again.join(&registry, "chat", None).await;
    let after = again.seen(|frames| !frames.is_empty()).await;
    assert_ne!(before[0]["epoch"], after[0]["epoch"]);
}

#[tokio::test(start_paused = true)]
async fn who_finds_a_room_full_waits_but_not_for_ever() {
    // Nobody drives this one: its rooms' writers never run.
    let still = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let registry = Registry::new(
        vec![Arc::new(room("chat", false, RoomOptions::new()))],
        1,
        NewBounds::default(),
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
async fn who_finds_a_room_full_goes_on_when_there_is_space() {
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
fn stalled(id: u64) -> Arc<Link> {
    let outbox = Outbox::new(ConnectionId(id), Encoding::WebSocket, 1 << 20, None, Vec::new());
    Link::new(
        outbox,
        User { id: "stalled".into(), authenticated: None, anonymous_token: None, is_new: false },
    )
}

#[tokio::test]
async fn who_asked_for_no_answer_is_told_that_the_room_went() {
    let registry = registry(vec![room("project", true, RoomOptions::new())]);
    let declared = Arc::clone(registry.declared("project:1").expect("declared").0);
    let client = Client::new(1);
    let reply = Reply::Frame(Arc::clone(&client.outbox), None);
    let publish = Publish { reply, ..event(MESSAGE, "1").0 };
    let deleted = |state: &mut State| (state.end("gone"), state.accept(publish));
    registry.cast(&declared, "project:1", move |state| drop(deleted(state))).expect("it is made");
    let told = client.seen(|frames| !frames.is_empty()).await;
    assert_eq!((&told[0]["code"], told[0].get("id")), (&"ROOM_NOT_FOUND".into(), None));
}

#[tokio::test]
async fn an_event_that_passed_middleware_is_not_taken_of_a_member_who_was_put_out() {
    let registry = registry(vec![room("chat", false, RoomOptions::new())]);
    let declared = Arc::clone(registry.declared("chat").expect("declared").0);
    let client = Client::new(1);
    client.join(&registry, "chat", None).await;
    let link = Arc::clone(&client.link);
    let was_in = registry.run(&declared, "chat", move |state| state.remove(&link, "enough")).await;
    assert!(was_in.expect("it runs"));
    let (publish, answer) = event(MESSAGE, "1");
    let publish = Publish { by: Some(Arc::clone(&client.outbox)), ..publish };
    registry.publish(&declared, "chat", publish, None).await.expect("there is room");
    let refusal = answer.await.expect("an answer").expect_err("it was put out");
    assert_eq!(refusal.code, crate::Code::NotInRoom);
}

#[tokio::test]
async fn a_replay_ends_with_its_membership_and_is_never_two() {
    let options = RoomOptions::new().retain(Retention::new().events(1_000));
    let registry = registry(vec![room("chat", false, options)]);
    let declared = Arc::clone(registry.declared("chat").expect("declared").0);
    for _ in 0..10 {
        publish(&registry, "chat", MESSAGE, &format!("{:50000}", 1)).await;
    }
    let epoch = registry.run(&declared, "chat", |state| state.epoch().to_owned()).await.expect("it runs");
    let (link, since) =
        (stalled(1), |seq| Some(Position { epoch: epoch.clone(), seq, event_id: String::new() }));
    let replays = async |since: Option<Position>| {
        let join = Join {
            link: Arc::clone(&link),
            slot: 0,
            wanted: None,
            since,
            seen: None,
            looked: false,
            moved: false,
            id: None,
        };
        registry
            .run(&declared, "chat", move |state| state.join(join))
            .await
            .expect("it runs")
            .expect("joined");
        link.outbox.replays()
    };
    assert_eq!([replays(since(0)).await, replays(since(1)).await, replays(since(10)).await], [1, 1, 0]);
    assert_eq!(replays(since(0)).await, 1);
    let connection = link.id();
    registry.run(&declared, "chat", move |state| state.leave(connection)).await.expect("it runs");
    assert_eq!(link.outbox.replays(), 0);

    let (idle, instance) = (stalled(2), registry.find("chat").expect("it stays"));
    (0..2).for_each(|_| idle.outbox.replay(&instance));
    assert_eq!(instance.waiting(), 1);
}

#[tokio::test]
async fn a_list_of_rooms_is_bounded_by_bytes_and_leaves_none_out() {
    let registry = registry(vec![room("project", true, RoomOptions::new())]);
    let declared = Arc::clone(registry.declared("project:1").expect("declared").0);
    for n in 0..300 {
        // As JSON, six times as long.
        let info =
            InstanceInfo { description: Some("\u{1}".repeat(1_024)), created: true, ..Default::default() };
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
async fn a_list_looks_at_a_bounded_number_of_hidden_rooms_and_says_where_to_go_on() {
    const ROOMS: usize = 3 * LIST_LOOKS;
    let declared = Arc::new(room("project", true, RoomOptions::new()));
    let registry =
        Registry::new(vec![Arc::clone(&declared)], ROOMS, NewBounds::default(), None, Handle::current());
    for n in 0..ROOMS {
        let info = InstanceInfo { created: true, ..Default::default() };
        registry.create(&declared, &format!("project:{n:05}"), info, 1, None).await.expect("there is room");
    }
    let seen = [format!("project:{:05}", ROOMS / 2), format!("project:{:05}", ROOMS - 1)];
    let (mut listed, mut after, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let mut looks = 0;
        let visible = |room: RoomRef<'_>, _: &RoomDecl| {
            looks += 1;
            seen.iter().any(|id| id == room.id)
        };
        let page = registry.list(after.as_deref(), visible, 1_000).await.expect("memory lists");
        assert!(looks <= LIST_LOOKS, "{looks}");
        pages += 1;
        listed.extend(page.rooms.into_iter().map(|room| room.room_id));
        assert_eq!(page.more, page.looked_to.is_some());
        after = page.looked_to.map(|room_id| room_id.to_string());
        if after.is_none() {
            break;
        }
    }
    assert_eq!((listed, pages), (seen.to_vec(), 3));
}

#[tokio::test]
async fn past_the_bound_the_longest_empty_instance_goes() {
    let decl = Arc::new(room("project", true, RoomOptions::new()));
    // And one, as though the declaration were a room of its own.
    let registry = Registry::new(vec![Arc::clone(&decl)], 2, NewBounds::default(), None, Handle::current());
    let client = Client::new(1);
    client.join(&registry, "project:1", None).await;
    registry
        .create(&decl, "project:2", InstanceInfo { created: true, ..Default::default() }, 9, None)
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
    let maker = Maker { user: "mallory".into(), address: None };
    let make = |id: &str| registry.enter(&decl, id, Some(&maker)).map(drop).map_err(|refusal| refusal.code);
    client.join(&registry, "project:8", None).await;
    assert_eq!(make("project:9"), Err(crate::Code::TooMany));
    publish(&registry, "project:9", MESSAGE, "1").await;
    let created = InstanceInfo { created: true, ..Default::default() };
    registry.create(&decl, "project:10", created.clone(), 9, None).await.expect("it is the application's");
    let more = registry.create(&decl, "project:11", created, 9, None).await;
    assert_eq!(more.map(drop).map_err(|refusal| refusal.code), Err(crate::Code::TooMany));
}
