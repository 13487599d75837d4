//! Tests of trimming.

use super::{
    events::{events, keyed},
    pages::{log, same},
    tried::Tried,
};
use crate::store::{Order, Query, StoredEvent};

pub(super) async fn trimming_drops_what_is_before(tried: Tried<'_>) {
    let all = events(1..=50);
    tried.append("chat", all.clone()).await;
    tried.append("feed", all.clone()).await;
    for first in [2, 3, 20, 50] {
        tried.trim("chat", first, 0).await;
        holds(&tried, &all[usize::try_from(first).unwrap_or(0) - 1..]).await;
    }
    same(
        "after `trim` of another room, `read`",
        &log(&tried, "feed", Query::new(Order::OldestFirst, 100)).await,
        &all,
    );
}

pub(super) async fn the_newest_event_is_never_trimmed(tried: Tried<'_>) {
    let all = events(1..=10);
    tried.append("chat", all.clone()).await;
    for first in [11, 1_000, u64::MAX] {
        tried.trim("chat", first, 0).await;
        holds(&tried, &all[9..]).await;
    }
}

pub(super) async fn trimming_again_changes_nothing(tried: Tried<'_>) {
    let all = events(1..=10);
    tried.trim("chat", 5, 0).await;
    assert_eq!(tried.head("chat").await, None, "`trim` of a room without events made a log");
    tried.append("chat", all.clone()).await;
    for first in [6, 6, 3, 1, 0] {
        tried.trim("chat", first, 0).await;
        holds(&tried, &all[5..]).await;
    }
}

pub(super) async fn a_trimmed_log_goes_on(tried: Tried<'_>) {
    let all = events(1..=30);
    tried.append("chat", all[..10].to_vec()).await;
    tried.trim("chat", u64::MAX, 0).await;
    tried.append("chat", all[10..20].to_vec()).await;
    holds(&tried, &all[9..20]).await;
    tried.trim("chat", 15, 0).await;
    tried.append("chat", all[20..].to_vec()).await;
    holds(&tried, &all[14..]).await;
}

pub(super) async fn a_log_of_another_epoch_is_not_trimmed(tried: Tried<'_>) {
    let all: Vec<_> = (1..=10).map(|seq| keyed(seq, "alice", &format!("key {seq}"))).collect();
    tried.append("chat", all.clone()).await;
    for epoch in ["another", "1", ""] {
        tried.trim_of(epoch, "chat", 5, u64::MAX).await;
        holds(&tried, &all).await;
    }
    let keys = tried.keys("chat", 0).await;
    assert_eq!(keys.len(), all.len(), "`trim` of another log dropped keys");
}

/// Expects these events in the log of `chat`, by `head` and in both orders.
async fn holds(tried: &Tried<'_>, due: &[StoredEvent]) {
    let head = tried
        .head("chat")
        .await
        .expect("after `trim`, `head` tells of no log: the newest event is never trimmed");
    assert_eq!(
        head.first, due[0].seq,
        "after `trim`, `head` gives another first number than the oldest event due"
    );
    same("after `trim`, `read`", &log(tried, "chat", Query::new(Order::OldestFirst, 7)).await, due);
    let newest_first: Vec<_> = due.iter().rev().cloned().collect();
    same("after `trim`, `read`", &log(tried, "chat", Query::new(Order::NewestFirst, 7)).await, &newest_first);
}
