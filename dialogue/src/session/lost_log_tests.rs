//! Removals, joins and deletions while the members of a room move from an instance that lost its log to the next.

use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, yield_now},
};

use super::*;
use crate::{
    Caller, Hooks, RoomRef,
    cluster::{NodeRequest, NodeResponse},
    wire::Encoding,
};

#[dialogue::event]
struct Message {
    text: String,
}

dialogue::rooms! {
    struct Acme;

    #[room(presence)]
    chat: [Message] via [websocket, sse];

    project(u64): [Message] via [websocket];
}

/// Records the calls of the hooks `joined` and `left`.
#[derive(Clone, Default)]
struct HookLog(Arc<Mutex<Vec<String>>>);

impl Hooks<()> for HookLog {
    async fn joined(&self, who: &Caller<()>, room: &RoomRef<'_>) {
        self.0.lock().push(format!("{} joined {}", who.user_id(), room.id()));
    }

    async fn left(&self, who: &Caller<()>, room: &RoomRef<'_>, reason: &str) {
        self.0.lock().push(format!("{} left {}: {reason}", who.user_id(), room.id()));
    }
}

impl HookLog {
    fn of(&self, user: &str) -> Vec<String> {
        let is_of_user = |line: &&String| line.starts_with(&format!("{user} "));
        self.0.lock().iter().filter(is_of_user).cloned().collect()
    }
}

/// A server and two members of one of its rooms. Mallory is subject to the test; ann moves undisturbed.
struct TestRoom {
    engine: Arc<Engine>,
    hook_log: HookLog,
    room_id: &'static str,
    mallory: Session,
    ann: Session,
}

async fn member(engine: &Arc<Engine>, user: &str, room_id: &str) -> Session {
    let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, usize::MAX, None, Vec::new());
    let entrance = NewConnection { source: Source::WebSocket, address: None, parent: None };
    let mut session = Session::new(Arc::clone(engine), outbox, entrance);
    let user = User { id: user.into(), authenticated: None, anonymous_token: None, is_new: false };
    session.identify(user).await.expect("it is let in");
    session.join(room_id, Channel::WebSocket, JoinOptions::default()).await.expect("it joins");
    session
}

/// Takes the frames that were sent to a session since the last call.
fn sent(session: &Session) -> Vec<Value> {
    sent_to(&session.outbox)
}

fn sent_to(outbox: &Arc<Outbox>) -> Vec<Value> {
    let mut sent = Vec::new();
    while let Poll::Ready(Ok(())) =
        outbox.poll_take(&mut Context::from_waker(Waker::noop()), usize::MAX, &mut sent)
    {}
    let text = String::from_utf8(sent.concat()).expect("text");
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

/// Returns the types of frames, without presence.
fn types(frames: &[Value]) -> Vec<&str> {
    let types = frames.iter().filter_map(|frame| frame["type"].as_str());
    types.filter(|kind| *kind != "presence").collect()
}

impl TestRoom {
    async fn open(room_id: &'static str) -> Self {
        let hook_log = HookLog::default();
        let engine = Acme::server().hooks(hook_log.clone()).build().await.expect("a server").engine();
        let mut mallory = member(&engine, "mallory", room_id).await;
        let ann = member(&engine, "ann", room_id).await;
        let (kind, data) = ("trigger", json!({ "text": "before" }));
        let frame = json!({ "type": kind, "roomId": room_id, "event": "message", "data": data });
        mallory.handle(&frame.to_string()).await;
        for session in [&mallory, &ann] {
            let received = async {
                while !sent(session).iter().any(|frame| frame["type"] == "event") {
                    yield_now().await;
                }
            };
            with_timeout("an event", received).await;
        }
        TestRoom { engine, hook_log, room_id, mallory, ann }
    }

    fn instance(&self) -> Arc<LiveRoom> {
        self.engine.registry.find(self.room_id).expect("it is there")
    }

    /// Creates the next instance, which runs no commands until the returned sender is dropped.
    async fn blocked_successor(&self) -> (Arc<LiveRoom>, oneshot::Sender<()>) {
        let (room, _) = self.engine.registry.declared(self.room_id).expect("it is declared");
        let next = self.engine.registry.find_or_open(room, self.room_id, None).expect("it is made");
        let (resume, waits) = oneshot::channel::<()>();
        let (begun, begins) = oneshot::channel();
        assert!(next.push(crate::live::RoomCommand::Pause(begun, waits)).is_ok());
        begins.await.expect("it begins");
        (next, resume)
    }

    /// Waits until mallory is moving to `next`.
    async fn mallory_starts_moving_to(&self, next: &Arc<LiveRoom>) {
        let connection = self.mallory.connection().expect("it is identified");
        let started = async {
            while connection.room(self.room_id).is_none_or(|now| !Arc::ptr_eq(&now, next)) {
                yield_now().await;
            }
        };
        with_timeout("mallory starts moving", started).await;
    }

    /// Waits until ann has moved. Mallory, who precedes her, has been processed by then.
    async fn ann_has_moved(&self) {
        let moved = async {
            loop {
                if let Some(joined) = sent(&self.ann).iter().find(|frame| frame["type"] == "joined") {
                    return assert_eq!((&joined["id"], &joined["resume"]), (&Value::Null, &"lost".into()));
                }
                yield_now().await;
            }
        };
        with_timeout("ann moves", moved).await;
    }

    async fn users(&self) -> Vec<String> {
        self.instance().run(|state| state.user_ids()).await.expect("it is there")
    }

    fn remove_mallory(&self) -> JoinHandle<NodeResponse> {
        let question = NodeRequest::RemoveMember {
            user: "mallory".into(),
            room_id: Some(self.room_id.into()),
            reason: "enough".into(),
        };
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move { engine.on_all_nodes(question).await.expect("it is done here") })
    }

    /// Asserts that mallory was removed exactly once and is in no instance.
    async fn assert_mallory_is_removed(&self) {
        self.ann_has_moved().await;
        assert_eq!(self.users().await, ["ann"]);
        let frames = sent(&self.mallory);
        assert_eq!(types(&frames), ["left"], "{frames:?}");
        assert_eq!(frames.iter().find(|frame| frame["type"] == "left").expect("left")["reason"], "enough");
        let left = format!("mallory left {}: enough", self.room_id);
        assert_eq!(self.hook_log.of("mallory"), [format!("mallory joined {}", self.room_id), left]);
        assert_eq!(self.hook_log.of("ann"), [format!("ann joined {}", self.room_id)]);
        assert_eq!(self.mallory.connection().expect("it is identified").room_count(), 0);
    }
}

async fn with_timeout<T>(what: &str, future: impl Future<Output = T>) -> T {
    let arrived = deadline::within(Duration::from_secs(60), what, future).await;
    arrived.unwrap_or_else(|late| panic!("{late}"))
}

/// Lets all other tasks run until they wait.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_member_removed_before_the_move_does_not_join_the_next_instance() {
    let test = TestRoom::open("chat").await;
    let move_on = test.instance().lose_log().await;
    assert_eq!(test.remove_mallory().await.expect("no panic").count, 1);
    assert_eq!(test.remove_mallory().await.expect("no panic").count, 0);
    move_on();
    test.assert_mallory_is_removed().await;
}

#[tokio::test]
async fn a_member_removed_during_the_move_does_not_join_the_next_instance() {
    let test = TestRoom::open("chat").await;
    let move_on = test.instance().lose_log().await;
    let (next, resume) = test.blocked_successor().await;
    move_on();
    test.mallory_starts_moving_to(&next).await;
    let (first, second) = (test.remove_mallory(), test.remove_mallory());
    settle().await;
    drop(resume);
    let counts = [first.await.expect("no panic").count, second.await.expect("no panic").count];
    assert_eq!(counts.iter().sum::<usize>(), 1);
    test.assert_mallory_is_removed().await;
}

#[tokio::test]
async fn a_member_removed_while_the_next_instance_loses_its_log_too_joins_none() {
    let test = TestRoom::open("chat").await;
    let move_on = test.instance().lose_log().await;
    let (next, resume) = test.blocked_successor().await;
    move_on();
    test.mallory_starts_moving_to(&next).await;
    let losing = tokio::spawn({
        let next = Arc::clone(&next);
        async move { next.lose_log().await }
    });
    settle().await;
    drop(resume);
    let move_on = losing.await.expect("no panic");
    assert_eq!(test.remove_mallory().await.expect("no panic").count, 1);
    move_on();
    test.assert_mallory_is_removed().await;
}

#[tokio::test]
async fn a_member_whose_renewed_token_loses_access_does_not_join_the_next_instance() {
    let test = TestRoom::open("chat").await;
    let instance = test.instance();
    let move_on = instance.lose_log().await;
    // As a review after a renewed token does.
    let connection = Arc::clone(test.mallory.connection().expect("it is identified"));
    assert!(test.engine.remove_from_room(&connection, &instance, "enough").await);
    assert!(!test.engine.remove_from_room(&connection, &instance, "enough").await);
    move_on();
    test.assert_mallory_is_removed().await;
}

#[tokio::test]
async fn members_of_an_unstored_keyed_room_move_too() {
    let test = TestRoom::open("project:1").await;
    let move_on = test.instance().lose_log().await;
    move_on();
    test.ann_has_moved().await;
    assert_eq!(test.users().await, ["ann", "mallory"]);
    assert_eq!(types(&sent(&test.mallory)), ["joined"]);
}

#[tokio::test]
async fn a_member_that_leaves_before_the_move_does_not_move() {
    let mut test = TestRoom::open("chat").await;
    let move_on = test.instance().lose_log().await;
    test.mallory.handle(&json!({ "type": "leave", "id": 1, "roomId": "chat" }).to_string()).await;
    move_on();
    test.ann_has_moved().await;
    assert_eq!(test.users().await, ["ann"]);
    let frames = sent(&test.mallory);
    assert_eq!((types(&frames), &frames[0]["id"]), (vec!["left"], &1.into()));
    assert_eq!(test.hook_log.of("mallory"), ["mallory joined chat", "mallory left chat: left"]);
}

#[tokio::test]
async fn a_member_whose_connection_ends_during_the_move_is_in_no_instance() {
    for is_moving in [false, true] {
        let TestRoom { engine, hook_log, room_id, mallory, ann } = TestRoom::open("chat").await;
        let other = member(&engine, "other", room_id).await;
        let test = TestRoom { engine, hook_log, room_id, mallory, ann };
        let move_on = test.instance().lose_log().await;
        let outbox = Arc::clone(&test.mallory.outbox);
        if is_moving {
            let (next, resume) = test.blocked_successor().await;
            move_on();
            test.mallory_starts_moving_to(&next).await;
            let TestRoom { engine, hook_log, room_id, mallory, ann } = test;
            drop(mallory);
            settle().await;
            drop(resume);
            let test = TestRoom { engine, hook_log, room_id, mallory: other, ann };
            assert_connection_ended(&test, &outbox).await;
        } else {
            let TestRoom { engine, hook_log, room_id, mallory, ann } = test;
            drop(mallory);
            settle().await;
            move_on();
            assert_connection_ended(&TestRoom { engine, hook_log, room_id, mallory: other, ann }, &outbox)
                .await;
        }
    }
}

/// Asserts that mallory's connection ended and sent nothing more, and that the other member remains.
async fn assert_connection_ended(test: &TestRoom, outbox: &Arc<Outbox>) {
    test.ann_has_moved().await;
    settle().await;
    assert_eq!(test.users().await, ["ann", "other"]);
    assert_eq!(types(&sent_to(outbox)), Vec::<&str>::new());
    assert_eq!(
        test.hook_log.of("mallory"),
        ["mallory joined chat", "mallory left chat: the connection was lost"]
    );
}

#[tokio::test]
async fn a_member_that_joins_again_before_the_move_stays_a_member() {
    let mut test = TestRoom::open("chat").await;
    let move_on = test.instance().lose_log().await;
    let join = json!({ "type": "join", "id": 1, "roomId": "chat" }).to_string();
    let joining = async {
        test.mallory.handle(&join).await;
    };
    let moving = async {
        settle().await;
        move_on();
    };
    tokio::join!(joining, moving);
    test.ann_has_moved().await;
    assert_eq!(test.users().await, ["ann", "mallory"]);
    let frames = sent(&test.mallory);
    assert_eq!(types(&frames), ["joined", "joined"]);
    assert_eq!(
        (&frames[0]["id"], &frames[0]["resume"], &frames[1]["id"]),
        (&Value::Null, &"lost".into(), &1.into())
    );
    assert_eq!(test.hook_log.of("mallory"), ["mallory joined chat"]);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_join_of_a_member_that_does_not_move_is_refused_as_unavailable() {
    let mut test = TestRoom::open("chat").await;
    let _stays = test.instance().lose_log().await;
    test.mallory.handle(&json!({ "type": "join", "id": 1, "roomId": "chat" }).to_string()).await;
    assert_eq!(sent(&test.mallory)[0]["code"], "UNAVAILABLE");
    assert_eq!(test.hook_log.of("mallory"), ["mallory joined chat"]);
}

#[tokio::test]
async fn a_room_that_is_deleted_before_its_members_moved_is_not_created_again() {
    for waits in [false, true] {
        let test = TestRoom::open("project:1").await;
        let move_on = test.instance().lose_log().await;
        let (next, resume) = test.blocked_successor().await;
        let deleting = {
            let (engine, next) = (Arc::clone(&test.engine), Arc::clone(&next));
            async move { engine.delete(&next).await.expect("it is deleted") }
        };
        if waits {
            move_on();
            test.mallory_starts_moving_to(&next).await;
            let deleting = tokio::spawn(deleting);
            settle().await;
            drop(resume);
            deleting.await.expect("no panic");
        } else {
            let deleting = tokio::spawn(deleting);
            settle().await;
            drop(resume);
            deleting.await.expect("no panic");
            move_on();
        }
        for session in [&test.mallory, &test.ann] {
            let connection = session.connection().expect("it is identified");
            with_timeout("it is out", connection.all_rooms_left()).await;
            settle().await;
            let frames = sent(session);
            let left = frames.iter().rfind(|frame| frame["type"] == "left").expect("it left");
            assert_eq!(left["reason"], DELETED_REASON, "{frames:?}");
            assert_eq!(frames.iter().filter(|frame| frame["type"] == "left").count(), 1, "{frames:?}");
            let user = &connection.user_id;
            let calls =
                [format!("{user} joined project:1"), format!("{user} left project:1: {DELETED_REASON}")];
            assert_eq!(test.hook_log.of(user), calls);
        }
        assert!(test.engine.registry.find("project:1").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_sends_no_presence_changes() {
    let test = TestRoom::open("chat").await;
    let eve = member(&test.engine, "eve", "chat").await;
    // Until the presence of the joins has been sent.
    tokio::time::sleep(Duration::from_secs(1)).await;
    sent(&test.mallory);
    sent(&test.ann);
    let move_on = test.instance().lose_log().await;
    drop(eve);
    move_on();
    test.ann_has_moved().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let about = |frames: Vec<Value>| -> Vec<Value> {
        frames.into_iter().filter(|frame| frame["type"] == "presence").collect()
    };
    for frames in [about(sent(&test.ann)), about(sent(&test.mallory))] {
        let changes: Vec<_> =
            frames.iter().map(|frame| (&frame["userId"], &frame["change"], &frame["size"])).collect();
        assert_eq!(changes, [(&"eve".into(), &"left".into(), &2.into())]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_removal_of_a_moving_member_is_sent_as_presence() {
    let test = TestRoom::open("chat").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    sent(&test.ann);
    let move_on = test.instance().lose_log().await;
    let (next, resume) = test.blocked_successor().await;
    move_on();
    test.mallory_starts_moving_to(&next).await;
    let removal = test.remove_mallory();
    settle().await;
    drop(resume);
    removal.await.expect("no panic");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let changes: Vec<_> = sent(&test.ann).into_iter().filter(|frame| frame["type"] == "presence").collect();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!((&changes[0]["userId"], &changes[0]["change"]), (&"mallory".into(), &"left".into()));
}

#[tokio::test]
async fn an_instance_that_loses_its_log_while_members_move_to_it_is_dropped() {
    let engine = Acme::server().build().await.expect("a server").engine();
    let mallory = member(&engine, "mallory", "chat").await;
    let ann = member(&engine, "ann", "chat").await;
    let test = TestRoom { engine, hook_log: HookLog::default(), room_id: "chat", mallory, ann };
    let move_on = test.instance().lose_log().await;
    let (next, resume) = test.blocked_successor().await;
    move_on();
    test.mallory_starts_moving_to(&next).await;
    let losing = tokio::spawn({
        let next = Arc::clone(&next);
        async move { next.lose_log().await }
    });
    settle().await;
    drop(resume);
    let move_on = losing.await.expect("no panic");
    let (weak, TestRoom { engine, mallory, ann, .. }) = (Arc::downgrade(&next), test);
    drop((next, mallory, ann));
    move_on();
    let gone = async {
        while weak.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    with_timeout("the instance is dropped", gone).await;
    drop(engine);
}

#[tokio::test]
async fn an_event_of_a_moving_member_is_accepted_after_another_was_removed() {
    let mut test = TestRoom::open("chat").await;
    let move_on = test.instance().lose_log().await;
    let (next, resume) = test.blocked_successor().await;
    move_on();
    test.mallory_starts_moving_to(&next).await;
    settle().await;
    let removal = test.remove_mallory();
    settle().await;
    let data = json!({ "text": "hi" });
    let frame = json!({ "type": "trigger", "id": 9, "roomId": "chat", "event": "message", "data": data });
    let frame = frame.to_string();
    let going = async {
        settle().await;
        drop(resume);
    };
    tokio::join!(test.ann.handle(&frame), going);
    settle().await;
    assert_eq!(removal.await.expect("no panic").count, 1);
    let frames = sent(&test.ann);
    let answer = frames.iter().find(|frame| frame["id"] == 9).expect("an answer");
    assert_eq!(answer["type"], "ok", "{frames:?}");
}

#[tokio::test(start_paused = true)]
async fn a_user_that_reconnects_in_its_grace_period_before_the_others_moved_is_not_announced() {
    let TestRoom { engine, hook_log, room_id, mallory, ann } = TestRoom::open("chat").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    sent(&ann);
    drop(mallory);
    let other = member(&engine, "other", "project:9").await;
    let test = TestRoom { engine, hook_log, room_id, mallory: other, ann };
    let move_on = test.instance().lose_log().await;
    let (room, _) = test.engine.registry.declared("chat").expect("it is declared");
    test.engine.registry.find_or_open(room, "chat", None).expect("it is made");
    let _mallory = member(&test.engine, "mallory", "chat").await;
    move_on();
    test.ann_has_moved().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let changes: Vec<_> = sent(&test.ann).into_iter().filter(|frame| frame["type"] == "presence").collect();
    assert!(changes.is_empty(), "{changes:?}");
}
