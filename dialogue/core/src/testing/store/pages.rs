//! Tests of pages: joined by `next`, they are the log.

use super::{
    events::{events, time},
    tried::Tried,
};
use crate::store::{Order, Query, StoredEvent};

pub(super) async fn pages_make_the_log(tried: Tried<'_>) {
    let all = events(1..=100);
    tried.append("chat", all.clone()).await;
    for limit in [1, 3, 10, 99, 100, 101] {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let queries = [
                Query::new(order, limit),
                Query { events: Some(vec!["task-moved".into()]), ..Query::new(order, limit) },
                Query { since: Some(time(20)), until: Some(time(61)), ..Query::new(order, limit) },
                Query { max_bytes: 70, ..Query::new(order, limit) },
                Query { after: Some(9), before: Some(95), max_bytes: 1, ..Query::new(order, limit) },
            ];
            for query in queries {
                let what = format!("`read` of all pages ({})", by(&query));
                same(&what, &log(&tried, "chat", query.clone()).await, &admitted(&all, &query));
            }
        }
    }
}

pub(super) async fn pages_make_the_log_while_it_grows_and_is_trimmed(tried: Tried<'_>) {
    for (room_id, order, due) in [
        ("up", Order::OldestFirst, Vec::from_iter(1..=60)),
        ("down", Order::NewestFirst, Vec::from_iter((1..=40).rev())),
    ] {
        tried.append(room_id, events(1..=40)).await;
        let (mut query, mut numbers) = (Query::new(order, 7), Vec::new());
        for round in 0..10 {
            let page = tried.read(room_id, query.clone()).await;
            numbers.extend(page.events.iter().map(|event| event.seq));
            match order {
                Order::OldestFirst => query.after = numbers.last().copied(),
                Order::NewestFirst => query.before = numbers.last().copied(),
            }
            tried.append(room_id, events(41 + round * 2..=42 + round * 2)).await;
            tried.trim(room_id, round * 2, 0).await;
        }
        assert!(
            due.starts_with(&numbers) && numbers.len() >= 20,
            "pages of a log that grew and was trimmed meanwhile skip or repeat: {numbers:?}"
        );
    }
}

/// Returns all pages of a query, joined.
pub(super) async fn log(tried: &Tried<'_>, room_id: &str, mut query: Query) -> Vec<StoredEvent> {
    let mut joined = Vec::new();
    for _ in 0..2_000 {
        let page = tried.read(room_id, query.clone()).await;
        assert!(
            page.events.len() <= query.limit,
            "`read` gave {} events where `limit` was {}",
            page.events.len(),
            query.limit
        );
        joined.extend(page.events);
        let Some(next) = page.next else { return joined };
        let moved = match query.order {
            Order::OldestFirst => query.after.replace(next).is_none_or(|after| next > after),
            Order::NewestFirst => query.before.replace(next).is_none_or(|before| next < before),
        };
        assert!(
            moved,
            "`read` gave a `next` that does not lead on: the next page would be ({}) again",
            by(&query)
        );
    }
    panic!("`read` gave a `next` 2,000 times over: the pages of a short log never end");
}

/// Returns the events that a store must return for a query, over all pages.
pub(super) fn admitted(all: &[StoredEvent], query: &Query) -> Vec<StoredEvent> {
    let admitted =
        all.iter().filter(|event| query.matches(event.seq, event.timestamp, &event.event)).cloned();
    match query.order {
        Order::OldestFirst => admitted.collect(),
        Order::NewestFirst => admitted.rev().collect(),
    }
}

/// Compares events, and fails with the first difference.
pub(super) fn same(what: &str, got: &[StoredEvent], expected: &[StoredEvent]) {
    for (place, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(
            got.seq, expected.seq,
            "{what} gave number {} at place {place} where number {} is due",
            got.seq, expected.seq
        );
        if let Some((field, got, expected)) = differing(got, expected) {
            panic!(
                "{what} gave a number with another `{field}` than was appended: {got} instead of {expected}"
            );
        }
    }
    if let Some(missing) = expected.get(got.len()) {
        panic!(
            "{what} left out number {}: it gave {} events where {} are due",
            missing.seq,
            got.len(),
            expected.len()
        );
    }
    if let Some(extra) = got.get(expected.len()) {
        panic!("{what} gave number {} beyond the {} events that are due", extra.seq, expected.len());
    }
}

/// Returns the first field that differs, with both values.
fn differing(got: &StoredEvent, expected: &StoredEvent) -> Option<(&'static str, String, String)> {
    let fields = |event: &StoredEvent| {
        [
            ("event_id", format!("{:?}", event.event_id)),
            ("timestamp", event.timestamp.to_string()),
            ("event", format!("{:?}", event.event)),
            ("from", format!("{:?}", event.from)),
            ("server", event.from_server.to_string()),
            ("data", format!("{:?}", event.data)),
            ("meta", format!("{:?}", event.meta)),
            ("conflated", format!("{:?}", event.conflation_key)),
            ("key", format!("{:?}", event.key)),
            ("offset", event.offset.to_string()),
            ("digest", format!("{:?}", event.digest)),
        ]
    };
    let (got, expected) = (fields(got), fields(expected));
    let (got, expected) = got.into_iter().zip(expected).find(|(got, expected)| got != expected)?;
    Some((got.0, cut(got.1), cut(expected.1)))
}

/// Shortens a text for a message.
fn cut(text: String) -> String {
    let shown: String = text.chars().take(200).collect();
    if shown.len() < text.len() { format!("{shown}… ({} bytes)", text.len()) } else { shown }
}

/// Describes a query in a few words.
pub(super) fn by(query: &Query) -> String {
    let order = if query.order == Order::OldestFirst { "oldest first" } else { "newest first" };
    let mut words = format!("{order}, limit {}, bytes {}", query.limit, query.max_bytes);
    for (name, bound) in
        [("after", query.after), ("before", query.before), ("since", query.since), ("until", query.until)]
    {
        words.extend(bound.map(|bound| format!(", {name} {bound}")));
    }
    words.extend(query.events.as_ref().map(|names| format!(", events {names:?}")));
    words
}
