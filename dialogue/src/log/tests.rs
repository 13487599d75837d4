use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::wire::Accepted;

const EPOCH: &str = "k2f9";
/// The kinds of event of the tests' room; `PRICE` is conflated.
const MESSAGE: EventIndex = EventIndex::at(0);
const PRICE: EventIndex = EventIndex::at(1);

fn log(retention: Retention) -> Log {
    Log::new(EPOCH.into(), retention, &[])
}

fn record(seq: u64, event: EventIndex, timestamp: u64, size: usize) -> Arc<Record> {
    let conflated = (event == PRICE).then(|| Box::from(if size.is_multiple_of(2) { "even" } else { "odd" }));
    let json = vec![b' '; size].into();
    Arc::new(Record {
        seq: Some(seq),
        event,
        event_id: crate::wire::Id::fresh(),
        timestamp,
        conflated,
        digest: None,
        json,
    })
}

fn append(log: &mut Log, event: EventIndex, timestamp: u64, size: usize) -> Arc<Record> {
    let record = record(log.next_seq(), event, timestamp, size);
    log.append(Arc::clone(&record));
    record
}

fn seqs(records: &[Arc<Record>]) -> Vec<u64> {
    records.iter().filter_map(|record| record.seq).collect()
}

fn position(seq: u64, event_id: &str) -> Position {
    Position { epoch: EPOCH.to_owned(), seq, event_id: event_id.to_owned() }
}

/// Asks for page after page, as a client does, until there is no more.
fn history(log: &Log, filter: EventSet, limit: usize) -> Vec<u64> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = log.before(before, filter, limit);
        assert!(page.records.len() <= limit);
        found.extend(seqs(&page.records));
        let Some(next) = page.next else { return found };
        assert!(before.is_none_or(|before| next < before), "the next page is the same");
        assert!(found.last().is_none_or(|last| next <= *last));
        before = Some(next);
    }
}

/// Reads on from `seq` page by page, as a replay does.
fn replay(log: &Log, mut seq: u64, filter: EventSet, bytes: u64) -> Option<Vec<u64>> {
    let mut found = Vec::new();
    loop {
        let LogSlice::InMemory(page, cursor) = log.after(seq, filter, bytes) else { return None };
        found.extend(seqs(&page.records));
        if page.next.is_none() {
            return Some(found);
        }
        assert!(cursor > seq && page.next == Some(cursor));
        seq = cursor;
    }
}

/// Every event there ever was, of which a log holds the end.
#[derive(Debug)]
struct Model {
    all: Vec<Arc<Record>>,
    retention: Retention,
    now: u64,
}

impl Model {
    fn held(&self) -> &[Arc<Record>] {
        let RetentionBounds { events, bytes } = RetentionBounds::from(&self.retention);
        let oldest = self.retention.age.map_or(0, |age| self.now.saturating_sub(millis(age)));
        let holds = |held: &[Arc<Record>]| {
            to_u64(held.len()) <= events
                && held.iter().map(|record| record.size()).sum::<u64>() <= bytes
                && held.iter().all(|record| record.timestamp >= oldest)
        };
        let start = (0..=self.all.len()).find(|start| holds(&self.all[*start..]));
        &self.all[start.expect("nothing always fits")..]
    }

    fn head(&self) -> u64 {
        to_u64(self.all.len())
    }

    fn known_id(&self, seq: u64) -> Option<&str> {
        let known = self.held().iter().chain(self.all.last()).find(|record| record.seq == Some(seq));
        known.map(|record| record.event_id.as_str())
    }

    fn resume(&self, since: &Position) -> ResumeDecision {
        let all_held = since.seq <= self.head() && since.seq + to_u64(self.held().len()) >= self.head();
        let same =
            since.event_id.is_empty() || self.known_id(since.seq).is_none_or(|id| id == since.event_id);
        if since.epoch == EPOCH && all_held && same {
            ResumeDecision::Complete { after: since.seq }
        } else {
            ResumeDecision::Lost
        }
    }

    /// Returns the events that a replay after `seq` sends.
    fn after(&self, seq: u64, filter: EventSet) -> Option<Vec<u64>> {
        let held = self.held();
        let newest = |record: &Record| {
            record.conflated.is_none()
                || held.iter().rfind(|other| other.conflated == record.conflated).map(|other| other.seq)
                    == Some(record.seq)
        };
        (seq + to_u64(held.len()) >= self.head()).then(|| {
            let read = held
                .iter()
                .filter(|record| record.seq > Some(seq) && filter.contains(record.event) && newest(record));
            read.filter_map(|record| record.seq).collect()
        })
    }

    fn before(&self, filter: EventSet) -> Vec<u64> {
        let read = self.held().iter().rev().filter(|record| filter.contains(record.event));
        read.filter_map(|record| record.seq).collect()
    }
}

prop_compose! {
    fn retention()(events in option::of(1..20_u64), bytes in option::of(1..800_u64), age in option::of(1..60_u64)) -> Retention {
        Retention { events, bytes, age: age.map(Duration::from_millis), forever: false }
    }
}

prop_compose! {
    /// A log and what it should be, after some events and some time without any.
    fn history_of_a_room()(
        retention in retention(),
        events in vec((0..3_usize, 0..10_u64, 1..100_usize), 0..60),
        silence in 0..40_u64,
    ) -> (Log, Model) {
        let (mut log, mut model) = (log(retention), Model { all: Vec::new(), retention, now: 1_000 });
        for (event, wait, size) in events {
            model.now += wait;
            model.all.push(append(&mut log, EventIndex::at(event), model.now, size));
        }
        model.now += silence;
        log.trim(model.now);
        (log, model)
    }
}

prop_compose! {
    fn some_events()(kinds in vec(0..3_usize, 0..3)) -> EventSet {
        kinds.into_iter().map(EventIndex::at).fold(EventSet::NONE, EventSet::with)
    }
}

proptest! {
    #[test]
    fn a_log_holds_what_its_retention_says((log, model) in history_of_a_room()) {
        let held: Vec<_> = log.records.iter().cloned().collect();
        prop_assert_eq!(seqs(&held), seqs(model.held()));
        prop_assert_eq!(log.bytes, held.iter().map(|record| record.size()).sum::<u64>());
        prop_assert_eq!(log.head().seq, model.head());
        prop_assert_eq!(log.next_seq(), model.head() + 1);
        prop_assert!(log.latest_keys.size().0 <= held.len());
    }

    #[test]
    fn a_resume_is_complete_if_all_events_are_retained(
        (log, model) in history_of_a_room(),
        seq in 0..70_u64,
        named in 0..4,
    ) {
        let right = model.all.get(to_usize(seq.max(1)) - 1).map_or("", |record| record.event_id.as_str());
        let since = match named {
            0 => position(seq, ""),
            1 => position(seq, right),
            2 => position(seq, "another"),
            _ => Position { epoch: "older".to_owned(), ..position(seq, right) },
        };
        prop_assert_eq!(log.resume(Some(&since), StoredId::NotRead), model.resume(&since));
    }

    #[test]
    fn a_replay_is_all_that_came_after(
        (log, model) in history_of_a_room(),
        seq in 0..70_u64,
        filter in some_events(),
        bytes in 1..500_u64,
    ) {
        prop_assume!(seq <= model.head());
        prop_assert_eq!(replay(&log, seq, filter, bytes), model.after(seq, filter));
    }

    #[test]
    fn pages_of_history_are_all_that_is_held(
        (log, model) in history_of_a_room(),
        filter in some_events(),
        limit in 1..9_usize,
        before in option::of(0..80_u64),
    ) {
        prop_assert_eq!(history(&log, filter, limit), model.before(filter));
        let first = log.before(before, filter, limit);
        let earlier = |seq: &u64| before.is_none_or(|before| *seq < before);
        let expected: Vec<_> = model.before(filter).into_iter().filter(earlier).take(limit).collect();
        prop_assert_eq!(seqs(&first.records), expected);
    }
}

#[test]
fn only_a_client_without_a_position_is_fresh() {
    assert_eq!(log(Retention::new()).resume(None, StoredId::NotRead), ResumeDecision::Fresh);
    assert_eq!(
        log(Retention::new()).resume(Some(&position(0, "")), StoredId::NotRead),
        ResumeDecision::Complete { after: 0 }
    );
    assert_eq!(
        log(Retention::new()).resume(Some(&position(u64::MAX, "")), StoredId::NotRead),
        ResumeDecision::Lost
    );
}

#[test]
fn the_head_outlives_its_record() {
    let mut log = log(Retention::new().age(Duration::from_secs(1)));
    let last = append(&mut log, MESSAGE, 0, 10);
    log.trim(1_001);
    assert_eq!((log.first_seq(), log.head()), (2, LogHead { seq: 1, event_id: last.event_id.as_str() }));
    assert_eq!(
        log.resume(Some(&position(1, last.event_id.as_str())), StoredId::NotRead),
        ResumeDecision::Complete { after: 1 }
    );
    assert_eq!(log.resume(Some(&position(1, "another")), StoredId::NotRead), ResumeDecision::Lost);
    assert_eq!(log.resume(Some(&position(0, "")), StoredId::NotRead), ResumeDecision::Lost);
    assert!(log.latest_keys.size() == (0, 0) && log.records.is_empty() && log.bytes == 0);
}

#[test]
fn a_clock_that_goes_back_loses_nothing_early() {
    let mut log = log(Retention::new().age(Duration::from_millis(10)));
    append(&mut log, MESSAGE, 1_000, 1);
    append(&mut log, MESSAGE, 5, 1);
    assert_eq!(history(&log, EventSet::ALL, 9), [2, 1]);
}

#[test]
fn rare_events_are_found_however_far_back_they_are() {
    let mut log = log(Retention::new().events(50_000));
    let rare = |seq: u64| seq == 2 || seq == 12_500 || seq == 12_501 || seq == 40_000;
    for seq in 1..=45_000 {
        append(&mut log, if rare(seq) { PRICE } else { MESSAGE }, 0, 1);
    }
    for limit in [1, 2, 200] {
        assert_eq!(history(&log, EventSet::NONE.with(PRICE), limit), [40_000, 12_501, 12_500, 2]);
    }
}

#[test]
fn a_page_looks_at_a_bounded_number_of_events_whatever_it_finds() {
    let mut log = log(Retention::new().events(50_000));
    (0..25_000).for_each(|_| drop(append(&mut log, MESSAGE, 0, 1)));
    let rare = EventSet::NONE.with(PRICE);
    let page = |before| {
        let page = log.before(before, rare, 50);
        (page.records.len(), page.next)
    };
    assert_eq!(page(None), (0, Some(15_001)));
    assert_eq!(page(Some(15_001)), (0, Some(5_001)));
    assert_eq!(page(Some(5_001)), (0, None));
    let LogSlice::InMemory(replayed, cursor) = log.after(100, rare, 1_000) else { panic!("it is held") };
    assert_eq!((replayed.records.len(), replayed.next, cursor), (0, Some(10_100), 10_100));
    for (order, nexts) in [(Order::OldestFirst, [10_000, 20_000]), (Order::NewestFirst, [15_001, 5_001])] {
        let mut query = Query::new(order, 10);
        query.events = Some(vec!["price".into()]);
        for next in nexts.map(Some).into_iter().chain([None]) {
            let page = log.select(&query, |event| if event == PRICE { "price" } else { "message" });
            assert_eq!((page.records.len(), page.next), (0, next));
            let bound = if order == Order::OldestFirst { &mut query.after } else { &mut query.before };
            *bound = page.next;
        }
    }
}

#[test]
fn a_page_fits_into_what_may_wait_for_a_connection() {
    let mut log = log(Retention::new().events(100));
    for size in [10, 600 << 10, 100 << 10, 100 << 10, 100 << 10] {
        append(&mut log, MESSAGE, 0, size);
    }
    assert_eq!(seqs(&log.before(None, EventSet::ALL, 50).records), [5, 4]);
    assert_eq!(seqs(&log.before(Some(3), EventSet::ALL, 50).records), [2]);
    assert_eq!(history(&log, EventSet::ALL, 50), [5, 4, 3, 2, 1]);
}

fn accepted(timestamp: u64) -> Accepted {
    Accepted::new(Some(timestamp), format!("id{timestamp}"), timestamp)
}

#[test]
fn a_key_is_remembered_of_its_user() {
    let (mut keys, alice, bob) = (IdempotencyKeys::default(), Arc::from("alice"), Arc::from("bob"));
    assert_eq!(keys.find(&alice, "k"), None);
    keys.remember(&alice, "k", accepted(7));
    assert_eq!(keys.find(&alice, "k"), Some(accepted(7).to_duplicate()));
    assert_eq!((keys.find(&bob, "k"), keys.find(&alice, "K")), (None, None));
}

#[test]
fn a_key_is_remembered_for_five_minutes() {
    let (mut keys, alice) = (IdempotencyKeys::default(), Arc::from("alice"));
    keys.remember(&alice, "first", accepted(0));
    keys.remember(&alice, "second", accepted(300_000));
    assert!(keys.find(&alice, "first").is_some());
    keys.remember(&alice, "third", accepted(300_001));
    assert!(keys.find(&alice, "first").is_none() && keys.find(&alice, "second").is_some());
    keys.remember(&alice, "first", accepted(300_002));
    assert_eq!(keys.find(&alice, "first").and_then(|seen| seen.seq), Some(300_002));
}

#[test]
fn of_many_keys_the_newest_are_remembered() {
    let (mut keys, alice) = (IdempotencyKeys::default(), Arc::from("alice"));
    (0..10_001_u64).for_each(|n| keys.remember(&alice, &n.to_string(), accepted(n)));
    let seen = |n: u64| keys.find(&alice, &n.to_string()).is_some();
    assert!(!seen(0) && (1..10_001).all(seen));
}

#[test]
fn keys_of_conflated_events_are_bounded_by_their_bytes() {
    let mut log = log(Retention::new().events(100_000)).backed_by_store();
    let mut most = 0;
    for n in 0..2_000_u64 {
        let record = Record {
            seq: Some(log.next_seq()),
            event: PRICE,
            event_id: Id::fresh(),
            timestamp: 0,
            conflated: Some(format!("{n}{}", "k".repeat(50_000)).into()),
            digest: None,
            json: bytes::Bytes::from(vec![b' '; 50_000]),
        };
        log.append(Arc::new(record));
        most = most.max(log.latest_keys.size().1);
    }
    assert!(most <= (1 << 20) + 50_100, "{most} bytes of keys");
    let newest = log.records.back().unwrap();
    assert!(
        log.is_newest(newest)
            && log.latest_keys.latest_seq(PRICE, newest.conflated.as_deref().unwrap()) == Some(2_000)
    );
}
