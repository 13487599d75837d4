//! Rooms that are loaded from their store.

use super::{full::Counting, *};
use crate::{
    store::{Append, Store, StoredEvent},
    wire::Id,
};

const ROOM: &str = "project:1";

fn log(epoch: &str, events: u64) -> Append {
    let event = |seq| StoredEvent::new(seq, Id::fresh(), 0, "message", "ann".into(), "{}".into());
    Append::new(ROOM.into(), epoch.into(), (1..=events).map(event).collect())
}

#[tokio::test]
async fn a_log_that_is_replaced_while_it_is_read_is_read_again() {
    let store = Counting::default();
    store.append(vec![log("first", 5)]).await.unwrap();
    *store.replacement.lock() = Some(log("second", 7));
    let archive = Archive::new(Arc::new(store), &Handle::current());
    let found = archive.find(&room("project", true, RoomOptions::new()), ROOM, 0).await.unwrap();
    let log = found.log.expect("a log");
    assert_eq!((&*log.epoch, log.last.seq), ("second", 7));
    assert_eq!(log.tail.first(), Some(&log.last), "the events and the head are of two logs");
}
