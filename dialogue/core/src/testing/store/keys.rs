//! Tests of idempotency keys.

use super::{
    events::{BEGIN, append, event, events, keyed, time},
    tried::Tried,
};
use crate::store::{StoredEvent, StoredKey};

pub(super) async fn keys_come_back_oldest_first(tried: Tried<'_>) {
    let alice = (1..=20).map(|seq| keyed(seq, "alice", &format!("k{}", 20 - seq)));
    let bob = (22..=30).map(|seq| keyed(seq, "bob", &format!("k{}", 30 - seq)));
    let all: Vec<_> = alice.chain([event(21)]).chain(bob).collect();
    tried.append("chat", all[..7].to_vec()).await;
    tried.append("chat", all[7..].to_vec()).await;
    tried.append("feed", vec![keyed(1, "carol", "k1")]).await;
    told(&tried, "chat", 0, &all).await;
}

pub(super) async fn keys_are_asked_for_since_a_time(tried: Tried<'_>) {
    let all: Vec<_> = (1..=30).map(|seq| keyed(seq, "alice", &format!("k{seq}"))).collect();
    tried.append("chat", all.clone()).await;
    for since in [0, BEGIN, time(14) - 1, time(14), time(14) + 1, time(30), time(30) + 1] {
        let due: Vec<_> = all.iter().filter(|event| event.timestamp >= since).cloned().collect();
        told(&tried, "chat", since, &due).await;
    }
}

pub(super) async fn keys_survive_the_trimming_of_their_events(tried: Tried<'_>) {
    let all: Vec<_> = (1..=10).map(|seq| keyed(seq, "alice", &format!("k{seq}"))).collect();
    tried.append("chat", all.clone()).await;
    tried.trim("chat", 9, 0).await;
    told(&tried, "chat", 0, &all).await;
    tried.trim("chat", u64::MAX, BEGIN).await;
    told(&tried, "chat", 0, &all).await;
}

pub(super) async fn trimming_drops_keys_from_before_a_time(tried: Tried<'_>) {
    let all: Vec<_> = (1..=10).map(|seq| keyed(seq, "alice", &format!("k{seq}"))).collect();
    tried.append("chat", all.clone()).await;
    tried.append("feed", all[..1].to_vec()).await;
    for since in [time(4), time(4), time(7) + 1] {
        tried.trim("chat", 0, since).await;
        let due: Vec<_> = all.iter().filter(|event| event.timestamp >= since).cloned().collect();
        told(&tried, "chat", 0, &due).await;
    }
    tried.trim("chat", 0, u64::MAX).await;
    told(&tried, "chat", 0, &[]).await;
    told(&tried, "feed", 0, &all[..1]).await;
    let held = tried.head("chat").await.map(|head| (head.first, head.last.seq));
    assert_eq!(held, Some((1, 10)), "`trim` of keys alone dropped events");
}

pub(super) async fn of_very_many_keys_the_newest_are_told(tried: Tried<'_>) {
    let all: Vec<_> = (1..=10_050).map(|seq| keyed(seq, "alice", &format!("k{seq}"))).collect();
    for some in all.chunks(1_000) {
        tried.append("chat", some.to_vec()).await;
    }
    told(&tried, "chat", 0, &all[50..]).await;
    told(&tried, "chat", time(10_000), &all[9_999..]).await;
}

pub(super) async fn a_key_may_come_again(tried: Tried<'_>) {
    let mut again = vec![keyed(1, "alice", "k"), keyed(2, "bob", "k"), keyed(3, "alice", "k")];
    tried.append("chat", again.clone()).await;
    again.push(keyed(4, "alice", "k"));
    let appended =
        tried.try_append(vec![append("chat", again[3..].to_vec()), append("feed", events(1..=1))]).await;
    assert!(
        appended.is_ok(),
        "`append` refused a key that was used before, which is the server's to decide: {}",
        appended.unwrap_err()
    );
    let keys = tried.keys("chat", 0).await;
    for (from, seq) in [("alice", 4), ("bob", 2)] {
        let newest = keys.iter().rfind(|key| &*key.from == from).map(|key| key.seq);
        assert_eq!(
            newest,
            Some(seq),
            "of a key that {from} used, `keys` names another event than the newest"
        );
    }
}

/// Reads the keys since a time, and expects those of `due`.
async fn told(tried: &Tried<'_>, room_id: &str, since: u64, due: &[StoredEvent]) {
    let (got, due) = (tried.keys(room_id, since).await, Vec::from_iter(due.iter().filter_map(StoredKey::of)));
    for (got, due) in got.iter().zip(&due) {
        assert_eq!(got, due, "`keys` since {since} gave another key than the one that is due, oldest first");
    }
    assert_eq!(got.len(), due.len(), "`keys` since {since} gave more or fewer keys than are due");
}
