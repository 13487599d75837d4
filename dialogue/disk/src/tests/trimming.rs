//! Trimming and removing logs: which events and keys are left, and that no rows are.

use dialogue_core::store::StoredKey;

use super::*;

fn keys(found: &[StoredKey]) -> Vec<u64> {
    found.iter().map(|key| key.seq).collect()
}

#[tokio::test]
async fn trimmed_events_leave_their_keys() {
    let scratch = Scratch::new();
    let disk = scratch.open().durability(Durability::Memory);
    disk.append(vec![append("chat", (1..=3_000).map(event))]).await.expect("appended");
    disk.trim("chat", trim(2_990, 2_000)).await.expect("trimmed");
    assert_eq!(numbers(&all(&disk, "chat").await), (2_990..=3_000).collect::<Vec<_>>());
    assert_eq!(keys(&disk.keys("chat", 0).await.expect("read")), (2_000..=3_000).collect::<Vec<_>>());
    disk.trim("chat", trim(2_990, 2_995)).await.expect("trimmed");
    assert_eq!(keys(&disk.keys("chat", 0).await.expect("read")), (2_995..=3_000).collect::<Vec<_>>());
    drop(disk);
    let head = scratch.open().head("chat").await.expect("read").expect("a log");
    assert_eq!((head.first, head.last.seq), (2_990, 3_000));
}

#[tokio::test]
async fn events_without_keys_are_skipped() {
    let scratch = Scratch::new();
    let disk = scratch.open().durability(Durability::Memory);
    let keyed = [1, 2, 500, 501, 502, 999];
    let events = (1..=1_200).map(|seq| {
        let mut event = event(seq);
        event.key = event.key.filter(|_| keyed.contains(&seq));
        event
    });
    disk.append(vec![append("chat", events)]).await.expect("appended");
    assert_eq!(keys(&disk.keys("chat", 0).await.expect("read")), keyed);
    assert_eq!(keys(&disk.keys("chat", 501).await.expect("read")), [501, 502, 999]);
    disk.trim("chat", trim(1_100, 0)).await.expect("trimmed");
    drop(disk);
    assert_eq!(keys(&scratch.open().keys("chat", 2).await.expect("read")), keyed[1..]);
}

#[tokio::test]
async fn the_newest_ten_thousand_keys_are_returned() {
    let scratch = Scratch::new();
    let disk = scratch.open().durability(Durability::Memory);
    disk.append(vec![append("chat", (1..=11_000).map(event))]).await.expect("appended");
    disk.trim("chat", trim(5_000, 0)).await.expect("trimmed");
    assert_eq!(keys(&disk.keys("chat", 0).await.expect("read")), (1_001..=11_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_next_log_has_nothing_of_a_removed_one() {
    let scratch = Scratch::new();
    let disk = scratch.open();
    disk.append(vec![append("chat", (1..=1_500).map(event))]).await.expect("appended");
    disk.trim("chat", trim(1_200, 0)).await.expect("trimmed");
    disk.remove("chat").await.expect("removed");
    assert_eq!(disk.head("chat").await.expect("read"), None);
    append_one(&disk, "chat", event(1)).await.expect("appended");
    drop(disk);
    let disk = scratch.open();
    assert_eq!(numbers(&all(&disk, "chat").await), [1]);
    assert_eq!(keys(&disk.keys("chat", 0).await.expect("read")), [1]);
}

#[tokio::test]
async fn a_removed_log_leaves_no_rows() {
    let scratch = Scratch::new();
    let disk = scratch.open();
    disk.append(vec![append("chat", (1..=2_500).map(event))]).await.expect("appended");
    disk.trim("chat", trim(1_200, 0)).await.expect("trimmed");
    disk.remove("chat").await.expect("removed");
    let rows = disk.shared.with_engine(|engine| Ok(engine.rows.len())).expect("open").expect("counted");
    // The row of reserved log ids is left.
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn a_page_without_matches_has_a_cursor() {
    let scratch = Scratch::new();
    let disk = scratch.open().durability(Durability::Memory);
    disk.append(vec![append("chat", (1..=5_000).map(event))]).await.expect("appended");
    for (order, nexts) in [(Order::OldestFirst, [2_000, 4_000]), (Order::NewestFirst, [3_001, 1_001])] {
        let mut query = Query::new(order, 10);
        query.events = Some(vec!["another".into()]);
        for next in nexts {
            let page = disk.read("chat", query.clone()).await.expect("read");
            assert_eq!((page.events.len(), page.next), (0, Some(next)));
            let bound = if order == Order::OldestFirst { &mut query.after } else { &mut query.before };
            *bound = page.next;
        }
        assert_eq!(disk.read("chat", query).await.expect("read").next, None);
    }
}
