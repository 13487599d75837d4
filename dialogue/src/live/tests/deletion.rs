//! What is remembered of a deleted room, and who makes it again.

use std::sync::atomic::Ordering;

use super::{
    full::{Counting, opener},
    *,
};
use crate::{
    Code,
    live::command::RoomChange,
    live::join::JoinOutcome,
    store::{Memory, Store},
    wire::EventSet,
};

const ROOM: &str = "project:1";

/// A room without an event.
struct TestRoom {
    registry: Arc<Registry>,
    spec: Arc<RoomSpec>,
    /// A position in its log.
    before: Position,
}

impl TestRoom {
    fn new(store: Option<impl Store>) -> Self {
        let spec = Arc::new(room("project", true, RoomOptions::new()));
        let archive = store.map(|store| Archive::new(Arc::new(store), &Handle::current()));
        let rooms = vec![Arc::clone(&spec)];
        let registry = Registry::new(rooms, 100, NewRoomBounds::default(), archive, Handle::current());
        let epoch = registry.context.epoch.current().to_string();
        TestRoom { registry, spec, before: Position { epoch, seq: 0, event_id: String::new() } }
    }

    async fn deleted(store: Option<impl Store>) -> Self {
        let room = TestRoom::new(store);
        assert!(room.join(1, None).await);
        let instance = room.registry.find(ROOM).expect("it is joined");
        instance.delete("gone").await.expect("the store works").expect("it was there");
        room
    }

    /// Joins a client, and returns whether it is let in; otherwise the room is room.
    async fn join(&self, client: u64, since: Option<Position>) -> bool {
        let join = Client::new(client).joining(since);
        let joined = self.registry.join(&self.spec, ROOM, join, &opener("ann")).await;
        matches!(joined.expect("it isn't refused"), JoinOutcome::Joined { .. })
    }

    async fn resume(&self, client: u64) -> bool {
        self.join(client, Some(self.before.clone())).await
    }

    /// Reads from the room, which opens it.
    async fn read(&self) {
        let instance = self.registry.find_or_open(&self.spec, ROOM, None).expect("there is room");
        assert_eq!(instance.barrier().await, Some(()));
    }
}

#[tokio::test]
async fn a_read_does_not_make_a_deleted_room_again_and_a_join_does() {
    for store in [None, Some(Memory::new())] {
        let room = TestRoom::deleted(store).await;
        room.read().await;
        assert!(!room.resume(2).await);
        assert!(room.join(3, None).await);
        assert!(room.resume(4).await);
    }
}

#[tokio::test]
async fn a_listener_does_not_make_a_deleted_room_again() {
    for store in [None, Some(Memory::new())] {
        let room = TestRoom::deleted(store).await;
        let (listener, _events) = Listener::new(ConnectionId(9));
        let listen = RoomChange::Listen(listener, EventSet::ALL);
        room.registry.push(&room.spec, ROOM, listen).expect("there is room");
        room.read().await;
        assert!(!room.resume(2).await);
        assert!(room.join(3, None).await);
        assert!(room.resume(4).await);
    }
}

#[tokio::test]
async fn a_deleted_room_that_is_created_or_written_to_is_there_again() {
    for (store, is_created) in
        [(None, true), (None, false), (Some(Memory::new()), true), (Some(Memory::new()), false)]
    {
        let room = TestRoom::deleted(store).await;
        if is_created {
            let info = RoomInstanceInfo { created: true, ..RoomInstanceInfo::default() };
            room.registry.create(&room.spec, ROOM, info, 1, None).await.expect("there is none");
        } else {
            let (publish, answer) = event(MESSAGE, "1");
            room.registry.publish(&room.spec, ROOM, publish, None).await.expect("it is taken");
            answer.await.expect("an answer").expect("it is accepted");
        }
        assert!(room.resume(2).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_failed_does_not_keep_clients_out() {
    let store = Counting::default();
    let room = TestRoom::new(Some(store.clone()));
    let member = room.join(1, None).await;
    assert!(member);
    let instance = room.registry.find(ROOM).expect("it is joined");
    store.broken.store(true, Ordering::SeqCst);
    assert_eq!(instance.delete("gone").await.map(drop).map_err(|error| error.code), Err(Code::Unavailable));
    store.broken.store(false, Ordering::SeqCst);
    // Until the store is tried again.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(room.resume(2).await);
    assert_eq!(room.registry.is_deleted(ROOM).await.ok(), Some(false));
}
