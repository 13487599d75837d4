//! Tests of durability: acknowledged events are there when the store is opened again.

use super::{
    events::{EPOCH, events, keyed, odd},
    model::Model,
    pages::{log, same},
    tried::Tried,
};
use crate::store::{Append, Order, Query};

pub(super) async fn what_was_acknowledged_is_there_when_opened_again(mut tried: Tried<'_>) {
    let (odd, plain) = (odd(), events(1..=300));
    tried.append("chat", odd.clone()).await;
    tried.append("feed", plain.clone()).await;
    tried.trim("feed", 100, 0).await;
    tried.put([("a/1", Some(b"one".as_slice())), ("a/2", Some(b""))]).await;
    let keys = tried.keys("chat", 0).await;
    for _ in 0..2 {
        tried = tried.reopen().await;
        same("opened again, `read`", &log(&tried, "chat", Query::new(Order::OldestFirst, 100)).await, &odd);
        same(
            "opened again, `read`",
            &log(&tried, "feed", Query::new(Order::OldestFirst, 100)).await,
            &plain[99..],
        );
        let head = tried.head("feed").await.map(|head| (String::from(&*head.epoch), head.first, head.last));
        assert_eq!(
            head,
            Some((EPOCH.to_owned(), 100, plain[299].clone())),
            "opened again, `head` tells otherwise than before"
        );
        assert_eq!(tried.keys("chat", 0).await, keys, "opened again, `keys` tells otherwise than before");
        let records: Vec<_> =
            tried.scan("a/", None, 10).await.into_iter().map(|(key, value)| (key, value.to_vec())).collect();
        assert_eq!(
            records,
            [("a/1".to_owned(), b"one".to_vec()), ("a/2".to_owned(), vec![])],
            "opened again, `scan` tells otherwise than before"
        );
    }
}

pub(super) async fn what_was_removed_stays_removed_when_opened_again(tried: Tried<'_>) {
    tried.append("chat", (1..=20).map(|seq| keyed(seq, "alice", &format!("k{seq}"))).collect()).await;
    tried.put([("a/1", Some(b"one".as_slice())), ("a/2", Some(b"two"))]).await;
    tried.remove("chat").await;
    tried.put([("a/1", None)]).await;
    let tried = tried.reopen().await;
    assert_eq!(tried.head("chat").await, None, "opened again, a removed log is back");
    assert!(tried.keys("chat", 0).await.is_empty(), "opened again, the keys of a removed log are back");
    assert_eq!(tried.get("a/1").await, None, "opened again, a removed record is back");
    assert!(tried.get("a/2").await.is_some(), "opened again, a record is gone that was not removed");
    let appended = tried.try_append(vec![Append::new("chat".into(), "another".into(), events(1..=1))]).await;
    assert!(
        appended.is_ok(),
        "opened again, a removed log doesn't begin again with 1: {}",
        appended.unwrap_err()
    );
}

pub(super) async fn a_log_goes_on_when_opened_again(mut tried: Tried<'_>) {
    let all = events(1..=50);
    for some in all.chunks(10) {
        tried.append("chat", some.to_vec()).await;
        tried = tried.reopen().await;
    }
    same(
        "opened again five times, `read`",
        &log(&tried, "chat", Query::new(Order::OldestFirst, 100)).await,
        &all,
    );
    let held = tried.try_append(vec![super::events::append("chat", events(50..=50))]).await;
    assert!(
        held.is_err_and(|error| error.is_conflict()),
        "opened again, `append` took a number that was held"
    );
}

pub(super) async fn it_answers_as_memory_does_when_opened_again(mut tried: Tried<'_>) {
    for seed in 1..=3 {
        let mut model = Model::new(seed);
        for _ in 0..4 {
            for _ in 0..40 {
                model.step(&*tried.store).await;
            }
            tried = tried.reopen().await;
            model.agree(&*tried.store).await;
        }
    }
}
