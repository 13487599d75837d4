//! Tests of the removal of a log.

use super::{
    events::keyed,
    pages::{log, same},
    tried::Tried,
};
use crate::store::{Append, Order, Page, Query};

pub(super) async fn a_removed_log_is_gone_with_its_keys(tried: Tried<'_>) {
    tried.append("project:1", (1..=10).map(|seq| keyed(seq, "alice", &format!("k{seq}"))).collect()).await;
    tried.put([("project:1", Some(b"kept".as_slice()))]).await;
    for _ in 0..2 {
        tried.remove("project:1").await;
        assert_eq!(tried.head("project:1").await, None, "after `remove`, `head` still tells of the log");
        let page = tried.read("project:1", Query::new(Order::OldestFirst, 10)).await;
        assert_eq!(page, Page::default(), "after `remove`, `read` still gives events");
        assert!(tried.keys("project:1", 0).await.is_empty(), "after `remove`, `keys` still gives keys");
    }
    assert!(
        tried.get("project:1").await.is_some(),
        "`remove` of a log took a record of the same name with it"
    );
}

pub(super) async fn a_removed_log_begins_again(tried: Tried<'_>) {
    tried.append("chat", (1..=10).map(|seq| keyed(seq, "alice", "old")).collect()).await;
    tried.remove("chat").await;
    let again = vec![keyed(1, "bob", "new"), keyed(2, "bob", "newer")];
    let appended = tried.try_append(vec![Append::new("chat".into(), "another".into(), again.clone())]).await;
    assert!(
        appended.is_ok(),
        "after `remove`, `append` refused number 1 in another epoch: {}",
        appended.unwrap_err()
    );
    let head = tried.head("chat").await.expect("`head` tells of no log where one began again");
    assert_eq!(
        (&*head.epoch, head.first),
        ("another", 1),
        "a log that began again has another epoch or beginning"
    );
    same(
        "of a log that began again, `read`",
        &log(&tried, "chat", Query::new(Order::OldestFirst, 10)).await,
        &again,
    );
    let keys: Vec<_> = tried.keys("chat", 0).await.iter().map(|key| key.seq).collect();
    assert_eq!(keys, [1, 2], "a log that began again has keys of the removed one");
}

pub(super) async fn removing_one_room_leaves_all_others(tried: Tried<'_>) {
    let others = [
        "project:10",
        "project:11",
        "project:",
        "project",
        "project:2",
        "aproject:1",
        "project:1:1",
        "project:1/",
    ];
    let all: Vec<_> = (1..=5).map(|seq| keyed(seq, "alice", &format!("k{seq}"))).collect();
    for room_id in others.into_iter().chain(["project:1"]) {
        tried.append(room_id, all.clone()).await;
    }
    tried.remove("project:1").await;
    tried.remove("none").await;
    for room_id in others {
        let what = format!("after `remove` of `project:1`, `read` of `{room_id}`");
        same(&what, &log(&tried, room_id, Query::new(Order::OldestFirst, 10)).await, &all);
        let keys = tried.keys(room_id, 0).await.len();
        assert_eq!(keys, 5, "`remove` of `project:1` took keys of `{room_id}` with it");
    }
}
