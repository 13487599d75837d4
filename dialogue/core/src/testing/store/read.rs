//! Tests of heads and of reading: each bound of a query.

use bytes::Bytes;

use super::{
    events::{EPOCH, event, events, time},
    pages::{admitted, by, log, same},
    tried::Tried,
};
use crate::store::{Order, Page, Query, StoredEvent};

pub(super) async fn a_room_without_events_has_no_head(tried: Tried<'_>) {
    tried.append("chat", events(1..=1)).await;
    assert_eq!(tried.head("feed").await, None, "`head` tells of a room that nothing was appended to");
    let page = tried.read("feed", Query::new(Order::OldestFirst, 10)).await;
    assert_eq!(page, Page::default(), "`read` gives events of a room that nothing was appended to");
    let keys = tried.keys("feed", 0).await;
    assert!(keys.is_empty(), "`keys` gives keys of a room that nothing was appended to");
}

pub(super) async fn the_head_is_where_a_log_begins_and_ends(tried: Tried<'_>) {
    let all = events(1..=12);
    tried.append("chat", all.clone()).await;
    for first in [1, 5, 12] {
        tried.trim("chat", first, 0).await;
        let head = tried.head("chat").await.expect("`head` tells of no log where there is one");
        assert_eq!(&*head.epoch, EPOCH, "`head` gives another epoch than the log was begun with");
        assert_eq!(head.first, first, "`head` gives another first number than the oldest event's");
        same("`head`", &[head.last], &all[11..]);
    }
}

pub(super) async fn a_log_is_read_in_both_orders(tried: Tried<'_>) {
    let all = events(1..=30);
    tried.append("chat", all.clone()).await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        given(&tried, &all, Query::new(order, 100)).await;
        given(&tried, &all, Query::new(order, 30)).await;
    }
}

pub(super) async fn after_and_before_are_outside_of_a_page(tried: Tried<'_>) {
    let all = events(1..=30);
    tried.append("chat", all.clone()).await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let query = Query::new(order, 100);
        for bound in [0, 1, 15, 29, 30, 31] {
            given(&tried, &all, Query { after: Some(bound), ..query.clone() }).await;
            given(&tried, &all, Query { before: Some(bound), ..query.clone() }).await;
            given(&tried, &all, Query { after: Some(bound), before: Some(bound + 5), ..query.clone() }).await;
            given(&tried, &all, Query { after: Some(bound), before: Some(bound), ..query.clone() }).await;
        }
    }
}

pub(super) async fn since_is_inside_of_a_page_and_until_outside(tried: Tried<'_>) {
    let all = events(1..=30);
    tried.append("chat", all.clone()).await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let query = Query::new(order, 100);
        for bound in [0, time(1), time(14), time(14) + 1, time(30), time(30) + 1] {
            given(&tried, &all, Query { since: Some(bound), ..query.clone() }).await;
            given(&tried, &all, Query { until: Some(bound), ..query.clone() }).await;
            given(&tried, &all, Query { since: Some(bound), until: Some(bound + 20), ..query.clone() }).await;
            given(&tried, &all, Query { since: Some(bound), until: Some(bound), ..query.clone() }).await;
        }
    }
}

pub(super) async fn only_events_of_these_names_are_read(tried: Tried<'_>) {
    let all = events(1..=30);
    tried.append("chat", all.clone()).await;
    for names in
        [&["message"][..], &["task-moved"], &["task-moved", "message"], &["mess%", "MESSAGE", "typing"], &[]]
    {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let events = Some(names.iter().map(|name| (*name).into()).collect());
            given(&tried, &all, Query { events: events.clone(), ..Query::new(order, 100) }).await;
            given(&tried, &all, Query { events, after: Some(3), ..Query::new(order, 100) }).await;
        }
    }
}

pub(super) async fn the_limit_is_kept(tried: Tried<'_>) {
    let all = events(1..=30);
    tried.append("chat", all.clone()).await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for limit in [1, 2, 29, 30] {
            let page = tried.read("chat", Query::new(order, limit)).await;
            let got = page.events.len();
            assert!(got <= limit, "`read` gave {got} events where `limit` was {limit}");
            assert!(
                page.next.is_some() || limit == 30,
                "`read` cut a page at `limit` {limit} of 30 and gave no `next`"
            );
        }
    }
}

pub(super) async fn a_page_ends_with_the_event_that_goes_past_its_bytes(tried: Tried<'_>) {
    let all: Vec<_> =
        (1..=20).map(|seq| StoredEvent { data: Bytes::from(vec![b'x'; 10_000]), ..event(seq) }).collect();
    tried.append("chat", all.clone()).await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for max_bytes in [1, 10_000, 25_000] {
            let query = Query { max_bytes, ..Query::new(order, 100) };
            let page = tried.read("chat", query.clone()).await;
            let due = max_bytes.div_ceil(10_000);
            let got = page.events.len();
            assert!(got <= due, "`read` gave {got} events of 10,000 bytes where `bytes` was {max_bytes}");
            assert!(page.next.is_some(), "`read` cut a page at `bytes` {max_bytes} and gave no `next`");
            same(
                &format!("`read` of all pages ({})", by(&query)),
                &log(&tried, "chat", query.clone()).await,
                &admitted(&all, &query),
            );
        }
    }
}

pub(super) async fn bounds_may_be_beyond_everything(tried: Tried<'_>) {
    let all = events(1..=10);
    tried.append("chat", all.clone()).await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let query = Query { max_bytes: usize::MAX, ..Query::new(order, usize::MAX) };
        for (low, high) in [(0, u64::MAX), (0, 0), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
            given(&tried, &all, Query { after: Some(low), before: Some(high), ..query.clone() }).await;
            given(&tried, &all, Query { since: Some(low), until: Some(high), ..query.clone() }).await;
        }
    }
    let keys = tried.keys("chat", u64::MAX).await;
    assert!(keys.is_empty(), "`keys` since the end of time gave some");
}

/// Reads one page, into which all of these events fit.
async fn given(tried: &Tried<'_>, all: &[StoredEvent], query: Query) {
    let (due, what) = (admitted(all, &query), format!("`read` ({})", by(&query)));
    same(&what, &log(tried, "chat", query).await, &due);
}
