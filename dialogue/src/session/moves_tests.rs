//! Removals, joins and deletions that meet the members of a room on their way from an instance that lost its log to the
//! next.

use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, yield_now},
};

use super::*;
use crate::{
    Hooks, RoomRef, Visitor,
    hub::{NodeRequest, NodeResponse},
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

/// Notes who joined and left.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Hooks<()> for Diary {
    async fn joined(&self, who: &Visitor<()>, room: &RoomRef<'_>) {
        self.0.lock().push(format!("{} joined {}", who.user_id(), room.id()));
    }

    async fn left(&self, who: &Visitor<()>, room: &RoomRef<'_>, reason: &str) {
        self.0.lock().push(format!("{} left {}: {reason}", who.user_id(), room.id()));
    }
}

impl Diary {
    fn of(&self, user: &str) -> Vec<String> {
        let mine = |line: &&String| line.starts_with(&format!("{user} "));
        self.0.lock().iter().filter(mine).cloned().collect()
    }
}

/// A server, and who is in one of its rooms: of mallory something becomes on the way, ann just moves.
struct House {
    engine: Arc<Engine>,
    diary: Diary,
    room_id: &'static str,
    mallory: Session,
    ann: Session,
}

async fn member(engine: &Arc<Engine>, user: &str, room_id: &str) -> Session {
    let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, usize::MAX, None, Vec::new());
    let entrance = Entrance { source: Source::WebSocket, address: None, parent: None };
    let mut session = Session::new(Arc::clone(engine), outbox, entrance);
    let user = User { id: user.into(), known: None, anonymous_token: None, newcomer: false };
    session.identify(user).await.expect("it is let in");
    session.join(room_id, Channel::WebSocket, Entry::default()).await.expect("it joins");
    session
}

/// Takes the frames that were sent to a session since the last look.
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

/// The types of frames, but for those about others.
fn types(frames: &[Value]) -> Vec<&str> {
    let types = frames.iter().filter_map(|frame| frame["type"].as_str());
    types.filter(|kind| *kind != "presence").collect()
}

impl House {
    async fn open(room_id: &'static str) -> Self {
        let diary = Diary::default();
        let engine = Acme::server().hooks(diary.clone()).build().await.expect("a server").engine();
        let mut mallory = member(&engine, "mallory", room_id).await;
        let ann = member(&engine, "ann", room_id).await;
        let (kind, data) = ("trigger", json!({ "text": "before" }));
        let said = json!({ "type": kind, "roomId": room_id, "event": "message", "data": data });
        mallory.handle(&said.to_string()).await;
        for session in [&mallory, &ann] {
            let heard = async {
                while !sent(session).iter().any(|frame| frame["type"] == "event") {
                    yield_now().await;
                }
            };
            within("an event", heard).await;
        }
        House { engine, diary, room_id, mallory, ann }
    }

    fn instance(&self) -> Arc<LiveRoom> {
        self.engine.registry.find(self.room_id).expect("it is there")
    }

    /// Makes the next instance, in which nothing is done until what is returned is dropped.
    async fn next_that_waits(&self) -> (Arc<LiveRoom>, oneshot::Sender<()>) {
        let (room, _) = self.engine.registry.declared(self.room_id).expect("it is declared");
        let next = self.engine.registry.find_or_open(room, self.room_id, None).expect("it is made");
        let (go_on, waits) = oneshot::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let waiting = Arc::clone(&next);
        tokio::spawn(async move {
            let wait = waiting.run_async(move |_| {
                Box::pin(async move {
                    begun.send(()).expect("the test waits");
                    drop(waits.await);
                })
            });
            wait.await
        });
        begins.await.expect("it begins");
        (next, go_on)
    }

    /// Waits until mallory is on the way into `next`.
    async fn mallory_sets_off_for(&self, next: &Arc<LiveRoom>) {
        let link = self.mallory.link().expect("it is identified");
        let set_off = async {
            while link.room(self.room_id).is_none_or(|now| !Arc::ptr_eq(&now, next)) {
                yield_now().await;
            }
        };
        within("mallory sets off", set_off).await;
    }

    /// Waits until ann has moved: what comes of mallory, who is before it, has come.
    async fn ann_has_moved(&self) {
        let moved = async {
            loop {
                if let Some(joined) = sent(&self.ann).iter().find(|frame| frame["type"] == "joined") {
                    return assert_eq!((&joined["id"], &joined["resume"]), (&Value::Null, &"lost".into()));
                }
                yield_now().await;
            }
        };
        within("ann moves", moved).await;
    }

    async fn users(&self) -> Vec<String> {
        self.instance().run(|state| state.user_ids()).await.expect("it is there")
    }

    fn put_out(&self) -> JoinHandle<NodeResponse> {
        let question = NodeRequest::RemoveMember {
            user: "mallory".into(),
            room_id: Some(self.room_id.into()),
            reason: "enough".into(),
        };
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move { engine.on_all_nodes(question).await.expect("it is done here") })
    }

    /// Mallory was put out once, and is nowhere.
    async fn mallory_is_out(&self) {
        self.ann_has_moved().await;
        assert_eq!(self.users().await, ["ann"]);
        let frames = sent(&self.mallory);
        assert_eq!(types(&frames), ["left"], "{frames:?}");
        assert_eq!(frames.iter().find(|frame| frame["type"] == "left").expect("left")["reason"], "enough");
        let left = format!("mallory left {}: enough", self.room_id);
        assert_eq!(self.diary.of("mallory"), [format!("mallory joined {}", self.room_id), left]);
        assert_eq!(self.diary.of("ann"), [format!("ann joined {}", self.room_id)]);
        assert_eq!(self.mallory.link().expect("it is identified").room_count(), 0);
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let arrived = deadline::within(Duration::from_secs(60), what, future).await;
    arrived.unwrap_or_else(|late| panic!("{late}"))
}

/// Lets all others do what they can.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

#[tokio::test]
async fn who_is_put_out_before_the_move_never_comes_in() {
    let house = House::open("chat").await;
    let move_on = house.instance().lose_log().await;
    assert_eq!(house.put_out().await.expect("no panic").count, 1);
    assert_eq!(house.put_out().await.expect("no panic").count, 0);
    move_on();
    house.mallory_is_out().await;
}

#[tokio::test]
async fn who_is_put_out_on_the_way_never_comes_in() {
    let house = House::open("chat").await;
    let move_on = house.instance().lose_log().await;
    let (next, go_on) = house.next_that_waits().await;
    move_on();
    house.mallory_sets_off_for(&next).await;
    let (first, second) = (house.put_out(), house.put_out());
    settle().await;
    drop(go_on);
    let counts = [first.await.expect("no panic").count, second.await.expect("no panic").count];
    assert_eq!(counts.iter().sum::<usize>(), 1);
    house.mallory_is_out().await;
}

#[tokio::test]
async fn who_is_put_out_as_the_next_instance_loses_its_log_too_never_comes_in() {
    let house = House::open("chat").await;
    let move_on = house.instance().lose_log().await;
    let (next, go_on) = house.next_that_waits().await;
    move_on();
    house.mallory_sets_off_for(&next).await;
    let losing = tokio::spawn({
        let next = Arc::clone(&next);
        async move { next.lose_log().await }
    });
    settle().await;
    drop(go_on);
    let move_on = losing.await.expect("no panic");
    assert_eq!(house.put_out().await.expect("no panic").count, 1);
    move_on();
    house.mallory_is_out().await;
}

#[tokio::test]
async fn whose_new_token_opens_no_more_rooms_on_the_way_never_comes_in() {
    let house = House::open("chat").await;
    let instance = house.instance();
    let move_on = instance.lose_log().await;
    // As a review does.
    let link = Arc::clone(house.mallory.link().expect("it is identified"));
    assert!(house.engine.remove_from_room(&link, &instance, "enough").await);
    assert!(!house.engine.remove_from_room(&link, &instance, "enough").await);
    move_on();
    house.mallory_is_out().await;
}

#[tokio::test]
async fn members_of_a_room_that_nothing_else_keeps_move_too() {
    let house = House::open("project:1").await;
    let move_on = house.instance().lose_log().await;
    move_on();
    house.ann_has_moved().await;
    assert_eq!(house.users().await, ["ann", "mallory"]);
    assert_eq!(types(&sent(&house.mallory)), ["joined"]);
}

#[tokio::test]
async fn who_leaves_before_the_move_has_left() {
    let mut house = House::open("chat").await;
    let move_on = house.instance().lose_log().await;
    house.mallory.handle(&json!({ "type": "leave", "id": 1, "roomId": "chat" }).to_string()).await;
    move_on();
    house.ann_has_moved().await;
    assert_eq!(house.users().await, ["ann"]);
    let frames = sent(&house.mallory);
    assert_eq!((types(&frames), &frames[0]["id"]), (vec!["left"], &1.into()));
    assert_eq!(house.diary.of("mallory"), ["mallory joined chat", "mallory left chat: left"]);
}

#[tokio::test]
async fn whose_connection_ends_on_the_way_is_in_no_instance() {
    for sets_off in [false, true] {
        let House { engine, diary, room_id, mallory, ann } = House::open("chat").await;
        let other = member(&engine, "other", room_id).await;
        let house = House { engine, diary, room_id, mallory, ann };
        let move_on = house.instance().lose_log().await;
        let outbox = Arc::clone(&house.mallory.outbox);
        if sets_off {
            let (next, go_on) = house.next_that_waits().await;
            move_on();
            house.mallory_sets_off_for(&next).await;
            let House { engine, diary, room_id, mallory, ann } = house;
            drop(mallory);
            settle().await;
            drop(go_on);
            let house = House { engine, diary, room_id, mallory: other, ann };
            is_gone(&house, &outbox).await;
        } else {
            let House { engine, diary, room_id, mallory, ann } = house;
            drop(mallory);
            settle().await;
            move_on();
            is_gone(&House { engine, diary, room_id, mallory: other, ann }, &outbox).await;
        }
    }
}

/// Mallory is gone, and another in its place.
async fn is_gone(house: &House, outbox: &Arc<Outbox>) {
    house.ann_has_moved().await;
    settle().await;
    assert_eq!(house.users().await, ["ann", "other"]);
    assert_eq!(types(&sent_to(outbox)), Vec::<&str>::new());
    assert_eq!(
        house.diary.of("mallory"),
        ["mallory joined chat", "mallory left chat: the connection was lost"]
    );
}

#[tokio::test]
async fn who_joins_again_before_the_move_stays_a_member() {
    let mut house = House::open("chat").await;
    let move_on = house.instance().lose_log().await;
    let join = json!({ "type": "join", "id": 1, "roomId": "chat" }).to_string();
    let joining = async {
        house.mallory.handle(&join).await;
    };
    let moving = async {
        settle().await;
        move_on();
    };
    tokio::join!(joining, moving);
    house.ann_has_moved().await;
    assert_eq!(house.users().await, ["ann", "mallory"]);
    let frames = sent(&house.mallory);
    assert_eq!(types(&frames), ["joined", "joined"]);
    assert_eq!(
        (&frames[0]["id"], &frames[0]["resume"], &frames[1]["id"]),
        (&Value::Null, &"lost".into(), &1.into())
    );
    assert_eq!(house.diary.of("mallory"), ["mallory joined chat"]);
}

#[tokio::test(start_paused = true)]
async fn who_joins_again_and_is_not_moved_is_asked_to_try_again() {
    let mut house = House::open("chat").await;
    let _stays = house.instance().lose_log().await;
    house.mallory.handle(&json!({ "type": "join", "id": 1, "roomId": "chat" }).to_string()).await;
    assert_eq!(sent(&house.mallory)[0]["code"], "UNAVAILABLE");
    assert_eq!(house.diary.of("mallory"), ["mallory joined chat"]);
}

#[tokio::test]
async fn a_room_that_is_deleted_before_its_members_moved_is_not_made_again() {
    for waits in [false, true] {
        let house = House::open("project:1").await;
        let move_on = house.instance().lose_log().await;
        let (next, go_on) = house.next_that_waits().await;
        let deleting = {
            let (engine, next) = (Arc::clone(&house.engine), Arc::clone(&next));
            async move { engine.delete(&next).await.expect("it is deleted") }
        };
        if waits {
            move_on();
            house.mallory_sets_off_for(&next).await;
            let deleting = tokio::spawn(deleting);
            settle().await;
            drop(go_on);
            deleting.await.expect("no panic");
        } else {
            let deleting = tokio::spawn(deleting);
            settle().await;
            drop(go_on);
            deleting.await.expect("no panic");
            move_on();
        }
        for session in [&house.mallory, &house.ann] {
            let link = session.link().expect("it is identified");
            within("it is out", link.all_rooms_left()).await;
            settle().await;
            let frames = sent(session);
            let left = frames.iter().rfind(|frame| frame["type"] == "left").expect("it left");
            assert_eq!(left["reason"], DELETED_REASON, "{frames:?}");
            assert_eq!(frames.iter().filter(|frame| frame["type"] == "left").count(), 1, "{frames:?}");
            let user = &link.user_id;
            let lived =
                [format!("{user} joined project:1"), format!("{user} left project:1: {DELETED_REASON}")];
            assert_eq!(house.diary.of(user), lived);
        }
        assert!(house.engine.registry.find("project:1").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_is_no_coming_and_no_going() {
    let house = House::open("chat").await;
    let eve = member(&house.engine, "eve", "chat").await;
    // Until they have been sent who came.
    tokio::time::sleep(Duration::from_secs(1)).await;
    sent(&house.mallory);
    sent(&house.ann);
    let move_on = house.instance().lose_log().await;
    drop(eve);
    move_on();
    house.ann_has_moved().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let about = |frames: Vec<Value>| -> Vec<Value> {
        frames.into_iter().filter(|frame| frame["type"] == "presence").collect()
    };
    for frames in [about(sent(&house.ann)), about(sent(&house.mallory))] {
        let said: Vec<_> =
            frames.iter().map(|frame| (&frame["userId"], &frame["change"], &frame["size"])).collect();
        assert_eq!(said, [(&"eve".into(), &"left".into(), &2.into())]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_put_out_on_the_way_is_said_to_have_left() {
    let house = House::open("chat").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    sent(&house.ann);
    let move_on = house.instance().lose_log().await;
    let (next, go_on) = house.next_that_waits().await;
    move_on();
    house.mallory_sets_off_for(&next).await;
    let put_out = house.put_out();
    settle().await;
    drop(go_on);
    put_out.await.expect("no panic");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let said: Vec<_> = sent(&house.ann).into_iter().filter(|frame| frame["type"] == "presence").collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((&said[0]["userId"], &said[0]["change"]), (&"mallory".into(), &"left".into()));
}

#[tokio::test]
async fn an_instance_that_loses_its_log_as_members_come_leaves_memory() {
    let engine = Acme::server().build().await.expect("a server").engine();
    let mallory = member(&engine, "mallory", "chat").await;
    let ann = member(&engine, "ann", "chat").await;
    let house = House { engine, diary: Diary::default(), room_id: "chat", mallory, ann };
    let move_on = house.instance().lose_log().await;
    let (next, go_on) = house.next_that_waits().await;
    move_on();
    house.mallory_sets_off_for(&next).await;
    let losing = tokio::spawn({
        let next = Arc::clone(&next);
        async move { next.lose_log().await }
    });
    settle().await;
    drop(go_on);
    let move_on = losing.await.expect("no panic");
    let (weak, House { engine, mallory, ann, .. }) = (Arc::downgrade(&next), house);
    drop((next, mallory, ann));
    move_on();
    let gone = async {
        while weak.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within("the instance is dropped", gone).await;
    drop(engine);
}

#[tokio::test]
async fn an_event_of_a_member_on_the_way_is_taken_after_another_was_put_out() {
    let mut house = House::open("chat").await;
    let move_on = house.instance().lose_log().await;
    let (next, go_on) = house.next_that_waits().await;
    move_on();
    house.mallory_sets_off_for(&next).await;
    settle().await;
    let out = house.put_out();
    settle().await;
    let data = json!({ "text": "hi" });
    let said = json!({ "type": "trigger", "id": 9, "roomId": "chat", "event": "message", "data": data });
    let said = said.to_string();
    let going = async {
        settle().await;
        drop(go_on);
    };
    tokio::join!(house.ann.handle(&said), going);
    settle().await;
    assert_eq!(out.await.expect("no panic").count, 1);
    let frames = sent(&house.ann);
    let answer = frames.iter().find(|frame| frame["id"] == 9).expect("an answer");
    assert_eq!(answer["type"], "ok", "{frames:?}");
}

#[tokio::test(start_paused = true)]
async fn a_user_that_comes_back_in_its_grace_before_the_others_moved_is_not_announced() {
    let House { engine, diary, room_id, mallory, ann } = House::open("chat").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    sent(&ann);
    drop(mallory);
    let other = member(&engine, "other", "project:9").await;
    let house = House { engine, diary, room_id, mallory: other, ann };
    let move_on = house.instance().lose_log().await;
    let (room, _) = house.engine.registry.declared("chat").expect("it is declared");
    house.engine.registry.find_or_open(room, "chat", None).expect("it is made");
    let _mallory = member(&house.engine, "mallory", "chat").await;
    move_on();
    house.ann_has_moved().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let said: Vec<_> = sent(&house.ann).into_iter().filter(|frame| frame["type"] == "presence").collect();
    assert!(said.is_empty(), "{said:?}");
}
