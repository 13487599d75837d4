//! Tests of ids: rooms and records are distinct to the byte, however many there are.

use super::{
    events::{append, events, keyed},
    pages::log,
    tried::Tried,
};
use crate::store::{Order, Query};

/// Texts that some database takes for equal, for a pattern, or for its own syntax.
const ALIKE: [&str; 24] = [
    "project:1",
    "project:10",
    "project:1 ",
    "project:01",
    "project:",
    "project",
    "project:a",
    "project:A",
    "project:é",
    "project:e\u{301}",
    "project:É",
    "project:%",
    "project:_",
    "project:*",
    "project:[a-z]",
    "project:a/b",
    "project:a\\b",
    "project:'",
    "project:\"",
    "project:{1}",
    "project:ß",
    "project:ss",
    "project:🙂",
    "project:\u{ff5e}",
];

pub(super) async fn many_rooms_are_told_apart(tried: Tried<'_>) {
    let rooms: Vec<_> = (0..2_000).map(|number| format!("project:{number}")).collect();
    for round in [1..=1, 2..=3] {
        for some in rooms.chunks(250) {
            let appends = some.iter().map(|room_id| append(room_id, events(round.clone()))).collect();
            let appended = tried.try_append(appends).await;
            assert!(appended.is_ok(), "`append` to 250 rooms in a call failed: {}", appended.unwrap_err());
        }
    }
    for room_id in rooms.iter().step_by(7) {
        let head = tried.head(room_id).await.map(|head| (head.first, head.last.seq));
        assert_eq!(
            head,
            Some((1, 3)),
            "of 2,000 rooms with 3 events each, `head` of `{room_id}` tells otherwise"
        );
    }
    let numbers = tried.read(&rooms[1_999], Query::new(Order::NewestFirst, 10)).await.events;
    assert_eq!(numbers.len(), 3, "of 2,000 rooms with 3 events each, the last has another number of events");
}

pub(super) async fn room_ids_are_told_apart_to_the_byte(tried: Tried<'_>) {
    let long = format!("project:{}", "é".repeat(64));
    let ids = || ALIKE.into_iter().chain([&*long]).zip(1..);
    for (room_id, length) in ids() {
        tried.append(room_id, (1..=length).map(|seq| keyed(seq, "alice", room_id)).collect()).await;
    }
    for (room_id, length) in ids() {
        let numbers: Vec<_> = log(&tried, room_id, Query::new(Order::OldestFirst, 100))
            .await
            .iter()
            .map(|event| event.seq)
            .collect();
        assert_eq!(
            numbers,
            Vec::from_iter(1..=length),
            "the room `{room_id}` is mixed up with another of a like id"
        );
        let keys: Vec<_> = tried.keys(room_id, 0).await.iter().map(|key| String::from(&*key.key)).collect();
        assert!(
            keys.iter().all(|key| key == room_id),
            "`keys` of the room `{room_id}` tells of another's: {keys:?}"
        );
    }
    tried.remove("project:%").await;
    tried.trim("project:*", 1_000, u64::MAX).await;
    for (room_id, length) in ids().filter(|(room_id, _)| !matches!(*room_id, "project:%" | "project:*")) {
        let head = tried.head(room_id).await.map(|head| (head.first, head.last.seq));
        assert_eq!(
            head,
            Some((1, length)),
            "removing `project:%` and trimming `project:*` changed `{room_id}`"
        );
    }
}

pub(super) async fn keys_of_records_are_told_apart_to_the_byte(tried: Tried<'_>) {
    let long = format!("rooms/{}", "k".repeat(506));
    let keys = || ALIKE.into_iter().chain([&*long]);
    for key in keys() {
        tried.put([(key, Some(key.as_bytes()))]).await;
    }
    for key in keys() {
        let got = tried.get(key).await;
        assert_eq!(
            got.as_deref(),
            Some(key.as_bytes()),
            "the record `{key}` is mixed up with another of a like key"
        );
    }
    tried.put([("project:%", None), ("project:*", None)]).await;
    for key in keys().filter(|key| !matches!(*key, "project:%" | "project:*")) {
        let got = tried.get(key).await;
        assert_eq!(
            got.as_deref(),
            Some(key.as_bytes()),
            "removing the records `project:%` and `project:*` changed `{key}`"
        );
    }
}
