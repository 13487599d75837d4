//! A model test: after any sequence of operations, the disk store answers as the memory store does.

use dialogue_core::store::{Head, Memory, Page, StoredKey};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append { room: usize, epoch: &'static str, events: Vec<bool>, skip: u64 },
    Trim { room: usize, epoch: &'static str, first: u64, keys_since: u64 },
    Remove { room: usize },
    Put { key: u8, value: Option<u8> },
    Reopen,
}

const ROOMS: [&str; 2] = ["chat", "project:1"];

fn rarely<T: Clone + std::fmt::Debug>(mostly: T, rarely: T) -> impl Strategy<Value = T> {
    prop_oneof![9 => Just(mostly), 1 => Just(rarely)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let room = || 0..ROOMS.len();
    let step = prop_oneof![
        6 => (room(), rarely("epoch", "another"), proptest::collection::vec(any::<bool>(), 1..20), rarely(0, 1))
            .prop_map(|(room, epoch, events, skip)| Step::Append { room, epoch, events, skip }),
        2 => (room(), rarely("epoch", "another"), 0_u64..80, 0_u64..40)
            .prop_map(|(room, epoch, first, keys_since)| Step::Trim { room, epoch, first, keys_since }),
        1 => room().prop_map(|room| Step::Remove { room }),
        1 => (0_u8..4, any::<Option<u8>>()).prop_map(|(key, value)| Step::Put { key, value }),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..30)
}

fn queries() -> impl Strategy<Value = Query> {
    let bound = || proptest::option::of(0_u64..60);
    let names = proptest::option::of(prop_oneof![Just(vec!["message".into()]), Just(vec!["price".into()])]);
    (any::<bool>(), 1_usize..9, 1_usize..200, bound(), bound(), bound(), bound(), names).prop_map(
        |(oldest, limit, max_bytes, after, before, since, until, events)| {
            let order = if oldest { Order::OldestFirst } else { Order::NewestFirst };
            let mut query = Query::new(order, limit);
            (query.max_bytes, query.after, query.before) = (max_bytes, after, before);
            (query.since, query.until, query.events) = (since, until, events);
            query
        },
    )
}

/// The results of all read operations of a store.
async fn answers(store: &impl Store, queries: &[Query]) -> Vec<(Option<Head>, Vec<StoredKey>, Vec<Page>)> {
    let mut answers = Vec::new();
    for room in ROOMS {
        let mut pages = Vec::new();
        for query in queries {
            pages.push(store.read(room, query.clone()).await.expect("read"));
        }
        let keys = store.keys(room, 20).await.expect("read");
        answers.push((store.head(room).await.expect("read"), keys, pages));
    }
    answers
}

fn event(seq: u64, keyed: bool) -> StoredEvent {
    let mut event = super::event(seq);
    // Both stores must get the same id.
    event.event_id = Id::parse(&format!("{seq:011}")).expect("11 digits");
    event.event = if seq.is_multiple_of(3) { "price" } else { "message" }.into();
    // Two events share each timestamp.
    event.timestamp = seq / 2;
    event.key = event.key.filter(|_| keyed);
    event
}

async fn take(store: &impl Store, step: &Step) -> Result<(), StoreError> {
    match step {
        Step::Append { room, epoch, events, skip } => {
            let head = store.head(ROOMS[*room]).await.expect("read");
            let next = head.map_or(1, |head| head.last.seq + 1) + skip;
            let events = (next..).zip(events).map(|(seq, keyed)| event(seq, *keyed)).collect();
            store.append(vec![Append::new(ROOMS[*room].into(), (*epoch).into(), events)]).await
        }
        Step::Trim { room, epoch, first, keys_since } => {
            let head = store.head(ROOMS[*room]).await.expect("read");
            let now = head.map_or(0, |head| head.last.timestamp);
            let trim = Trim::new((*epoch).into(), *first, now.min(*keys_since));
            store.trim(ROOMS[*room], trim).await
        }
        Step::Remove { room } => store.remove(ROOMS[*room]).await,
        Step::Put { key, value } => {
            store.put(vec![(format!("a/{key}"), value.map(|value| vec![value].into()))]).await
        }
        Step::Reopen => Ok(()),
    }
}

async fn compare(steps: Vec<Step>, queries: Vec<Query>) {
    let (scratch, memory) = (Scratch::new(), Memory::new());
    let mut disk = scratch.open().durability(Durability::Memory);
    for step in steps {
        if matches!(step, Step::Reopen) {
            drop(disk);
            disk = scratch.open().durability(Durability::Written);
        }
        let done = (take(&memory, &step).await, take(&disk, &step).await);
        assert_eq!(done.0.is_ok(), done.1.is_ok(), "{step:?}");
        assert_eq!(answers(&memory, &queries).await, answers(&disk, &queries).await, "after {step:?}");
        let found = (memory.scan("a/", Some("a/0"), 2).await, disk.scan("a/", Some("a/0"), 2).await);
        assert_eq!(found.0.expect("scanned"), found.1.expect("scanned"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn disk_and_memory_answer_alike(steps in steps(), queries in proptest::collection::vec(queries(), 4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(compare(steps, queries));
    }
}
