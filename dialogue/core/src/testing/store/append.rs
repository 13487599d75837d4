//! Tests of appending: the events that are kept, and the appends that are refused.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};

use bytes::Bytes;

use super::{
    events::{EPOCH, append, event, events, odd},
    pages::{log, same},
    tried::Tried,
};
use crate::store::{Append, Order, Query, StoredEvent};

pub(super) async fn every_field_of_an_event_comes_back(tried: Tried<'_>) {
    let odd = odd();
    tried.append("chat", odd.clone()).await;
    same("`read`", &tried.read("chat", Query::new(Order::OldestFirst, 100)).await.events, &odd);
    let last = tried.head("chat").await.map(|head| head.last);
    same("`head`", &Vec::from_iter(last), &odd[odd.len() - 1..]);
}

pub(super) async fn events_are_large_or_empty(tried: Tried<'_>) {
    let sized = |seq: u64, size| StoredEvent { data: Bytes::from(vec![b'x'; size]), ..event(seq) };
    let large: Vec<_> =
        [64 << 10, 1, 64 << 10, 0, 70_000].into_iter().zip(1..).map(|(size, seq)| sized(seq, size)).collect();
    tried.append("chat", large.clone()).await;
    same("`read`", &log(&tried, "chat", Query::new(Order::OldestFirst, 2)).await, &large);
}

pub(super) async fn one_call_appends_to_several_rooms(tried: Tried<'_>) {
    let rooms = [("chat", events(1..=3)), ("feed", events(1..=1)), ("project:7", events(1..=20))];
    let appends = rooms.iter().map(|(room_id, events)| append(room_id, events.clone())).collect();
    let appended = tried.try_append(appends).await;
    assert!(appended.is_ok(), "`append` of three rooms' first events failed: {}", appended.unwrap_err());
    for (room_id, events) in rooms {
        same(
            &format!("`read` of `{room_id}`"),
            &log(&tried, room_id, Query::new(Order::OldestFirst, 100)).await,
            &events,
        );
    }
}

pub(super) async fn numbers_go_on_from_call_to_call(tried: Tried<'_>) {
    let all = events(1..=60);
    let (mut rest, mut size) = (all.as_slice(), 1);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(size.min(rest.len()));
        tried.append("chat", now.to_vec()).await;
        same(
            "`head`",
            &Vec::from_iter(tried.head("chat").await.map(|head| head.last)),
            &now[now.len() - 1..],
        );
        (rest, size) = (later, size + 3);
    }
    same("`read`", &log(&tried, "chat", Query::new(Order::OldestFirst, 100)).await, &all);
}

pub(super) async fn an_append_to_nothing_is_no_error(tried: Tried<'_>) {
    for seq in 1..=3 {
        let appended = tried.try_append(Vec::new()).await;
        assert!(appended.is_ok(), "`append` of no rooms at all failed: {}", appended.unwrap_err());
        tried.append("chat", events([seq])).await;
    }
}

pub(super) async fn numbers_that_are_held_are_a_conflict(tried: Tried<'_>) {
    let held = events(1..=5);
    tried.append("chat", held.clone()).await;
    for (numbers, what) in [
        (5..=5, "the newest again"),
        (1..=5, "the whole log again"),
        (5..=7, "the newest and two more"),
        (1..=1, "number 1"),
    ] {
        refused(&tried, append("chat", events(numbers)), what).await;
        same(
            &format!("after `append` of {what}, `read`"),
            &log(&tried, "chat", Query::new(Order::OldestFirst, 100)).await,
            &held,
        );
    }
    tried.append("chat", events(6..=6)).await;
}

pub(super) async fn a_hole_in_the_numbers_is_a_conflict(tried: Tried<'_>) {
    refused(&tried, append("chat", events(2..=2)), "number 2 to an empty log").await;
    assert!(tried.head("chat").await.is_none(), "a refused `append` left a log that `head` tells of");
    tried.append("chat", events(1..=3)).await;
    refused(&tried, append("chat", events(5..=6)), "numbers 5 and 6 to a log that ends with 3").await;
    tried.append("chat", events(4..=4)).await;
}

pub(super) async fn another_epoch_is_a_conflict(tried: Tried<'_>) {
    let held = events(1..=2);
    tried.append("chat", held.clone()).await;
    let other = Append::new("chat".into(), "another".into(), events(3..=3));
    refused(&tried, other, "the next number in another epoch").await;
    same("after that, `read`", &log(&tried, "chat", Query::new(Order::OldestFirst, 100)).await, &held);
    let epoch = tried.head("chat").await.map(|head| head.epoch);
    assert_eq!(epoch.as_deref(), Some(EPOCH), "a refused `append` changed the log's epoch");
}

pub(super) async fn a_conflict_names_its_rooms_and_leaves_the_others_kept(tried: Tried<'_>) {
    for room_id in ["b", "d"] {
        tried.append(room_id, events(1..=2)).await;
    }
    let appends = ["a", "b", "c", "d", "e"].map(|room_id| append(room_id, events(1..=3)));
    let error = tried
        .try_append(appends.to_vec())
        .await
        .expect_err("`append` took numbers that two of five rooms held");
    assert!(error.is_conflict(), "`append` refused held numbers by an error that is no conflict: {error}");
    let named: Vec<_> = (0..5).map(|room| error.concerns(room)).collect();
    assert_eq!(
        named,
        [false, true, false, true, false],
        "a conflict of the rooms at 1 and 3 of 5 names others by `only`"
    );
    for (room_id, last) in [("a", 3), ("b", 2), ("c", 3), ("d", 2), ("e", 3)] {
        let kept = tried.head(room_id).await.map(|head| head.last.seq);
        assert_eq!(kept, Some(last), "after a conflict of some rooms, the log of `{room_id}` ends wrongly");
    }
}

pub(super) async fn a_dropped_append_is_done_or_not(tried: Tried<'_>) {
    let mut acknowledged = Vec::new();
    for _ in 0..30 {
        let first = next(&tried).await;
        {
            let mut call = pin!(tried.store.append(vec![append("chat", events(first..first + 3))]));
            let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        acknowledged.push(append_after_a_dropped_call(&tried).await);
    }
    let log = log(&tried, "chat", Query::new(Order::OldestFirst, 40)).await;
    let numbers: Vec<_> = log.iter().map(|event| event.seq).collect();
    let due: Vec<_> = (1..).take(log.len()).collect();
    assert_eq!(
        numbers, due,
        "after calls of `append` that were dropped under way, the log has other numbers"
    );
    for event in acknowledged {
        let kept = log.iter().find(|kept| kept.seq == event.seq);
        assert_eq!(
            kept,
            Some(&event),
            "an `append` that was dropped under way changed what a later one appended"
        );
    }
}

/// Appends as a server does after a call that it dropped at a timeout: it asks for the head first. The dropped call may
/// still be carried out; then the next append conflicts, and the server asks again.
async fn append_after_a_dropped_call(tried: &Tried<'_>) -> StoredEvent {
    for _ in 0..3 {
        let event = event(next(tried).await);
        match tried.try_append(vec![append("chat", vec![event.clone()])]).await {
            Ok(()) => return event,
            Err(error) => {
                assert!(
                    error.is_conflict(),
                    "`append` after one that was dropped fails by no conflict: {error}"
                );
            }
        }
    }
    panic!(
        "`append` of the number after that of `head` conflicts for ever, after a call that was dropped under way"
    );
}

async fn next(tried: &Tried<'_>) -> u64 {
    tried.head("chat").await.map_or(1, |head| head.last.seq + 1)
}

pub(super) async fn appends_to_different_rooms_are_under_way_at_once(tried: Tried<'_>) {
    let at_once = tried.store.max_concurrent_appends();
    assert!(at_once >= 1, "`concurrency` is 0: a server could never append");
    let writers = (0..at_once.min(8)).map(|writer| {
        let store = Arc::clone(&tried.store);
        tokio::spawn(async move {
            for seq in 1..=30 {
                let rooms = [format!("room:{writer}"), format!("other:{writer}")];
                let appends = rooms.iter().map(|room_id| append(room_id, events([seq]))).collect();
                store.append(appends).await.unwrap_or_else(|error| {
                    panic!("`append` failed while {at_once} calls were under way, as `concurrency` allows: {error}")
                });
            }
        })
    });
    for writer in Vec::from_iter(writers) {
        if let Err(failed) = writer.await {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
    for writer in 0..at_once.min(8) {
        let numbers: Vec<_> = log(&tried, &format!("other:{writer}"), Query::new(Order::OldestFirst, 100))
            .await
            .iter()
            .map(|event| event.seq)
            .collect();
        assert_eq!(
            numbers,
            Vec::from_iter(1..=30),
            "appends to different rooms at once left a log with other numbers than 1 to 30"
        );
    }
}

async fn refused(tried: &Tried<'_>, append: Append, what: &str) {
    match tried.try_append(vec![append]).await {
        Ok(()) => panic!("`append` took {what}; it is to be refused by `StoreError::conflict`"),
        Err(error) => {
            assert!(
                error.is_conflict(),
                "`append` of {what} failed with an error that is no conflict: {error}"
            );
            assert!(
                error.concerns(0),
                "`append` of {what} names other places than that of the one room it was given"
            );
        }
    }
}
