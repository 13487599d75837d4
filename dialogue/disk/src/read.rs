//! The read operations of the disk store, on rows of the [engine](super::engine): heads, pages of events, keys,
//! records.

use std::ops::Bound;

use bytes::Bytes;
use dialogue_core::store::{Head, Order, Page, Query, StoreError, StoredEvent, StoredKey};
use fjall::Guard;

use super::{
    engine::{DiskEngine, read_failed},
    rows::{self, LogMeta},
};

/// The maximum number of events that one page examines, also if a filter selects none of them.
const MAX_EXAMINED_EVENTS: usize = 2_000;
/// The maximum number of keys that are returned for a room.
const MAX_KEYS: usize = 10_000;

impl DiskEngine {
    pub(super) fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        // Waits for the write in progress, so that the head includes an append whose caller has given up.
        let _writer = self.writer();
        let Some(log) = self.log(room_id)? else { return Ok(None) };
        let last = self.rows.get(rows::event(log.id, log.last)).map_err(read_failed)?;
        let last = last
            .ok_or_else(|| StoreError::new(format!("the log of room {room_id} has lost its newest event")))?;
        Ok(Some(Head::new(log.epoch, log.first, rows::read_event(&last)?.0)))
    }

    pub(super) fn read(&self, room_id: &str, query: &Query) -> Result<Page, StoreError> {
        let Some(log) = self.log(room_id)? else { return Ok(Page::default()) };
        let end = log.last.saturating_add(1);
        let mut from = query.after.map_or(log.first, |after| after.saturating_add(1)).clamp(log.first, end);
        let mut to = query.before.map_or(end, |before| before.clamp(log.first, end));
        if let Some(since) = query.since {
            from = self.first_since(&log, since, from, to)?;
        }
        if let Some(until) = query.until {
            to = self.first_since(&log, until, from, to)?;
        }
        if from >= to {
            return Ok(Page::default());
        }
        let events = self.rows.range(rows::event(log.id, from)..rows::event(log.id, to));
        match query.order {
            Order::OldestFirst => page(events, query),
            Order::NewestFirst => page(events.rev(), query),
        }
    }

    /// Returns the number of the first event in `from..to` at or after a time, or `to`, by binary search: times never
    /// fall.
    pub(super) fn first_since(
        &self,
        log: &LogMeta,
        time: u64,
        mut from: u64,
        mut to: u64,
    ) -> Result<u64, StoreError> {
        while from < to {
            let middle = from + (to - from) / 2;
            let event = self.rows.get(rows::event(log.id, middle)).map_err(read_failed)?;
            // A missing event has been trimmed in the meantime.
            let earlier = match event {
                Some(row) => rows::read_event(&row)?.0.timestamp < time,
                None => true,
            };
            if earlier {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        Ok(from)
    }

    pub(super) fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        let Some(log) = self.log(room_id)? else { return Ok(Vec::new()) };
        let mut found = self.keys_down(&log, log.last, since, MAX_KEYS)?;
        for row in self.trimmed_keys(&log).rev() {
            let (row_key, row) = row.into_inner().map_err(read_failed)?;
            let key = rows::read_key(&row_key, &row)?;
            if found.len() >= MAX_KEYS || key.timestamp < since {
                break;
            }
            found.push(key);
        }
        found.reverse();
        Ok(found)
    }

    /// Returns at most `limit` keys of events that are still in the log, newest first, from number `at` down to the
    /// time `since`.
    pub(super) fn keys_down(
        &self,
        log: &LogMeta,
        mut at: u64,
        since: u64,
        limit: usize,
    ) -> Result<Vec<StoredKey>, StoreError> {
        let mut found = Vec::new();
        while at >= log.first {
            let mut next = 0;
            // Each row holds the distance to the previous event with a key, so that runs of events without keys are
            // skipped.
            for row in self.rows.range(rows::event(log.id, log.first)..=rows::event(log.id, at)).rev() {
                let (event, keyed) = rows::read_event(&row.value().map_err(read_failed)?)?;
                match StoredKey::of(&event) {
                    Some(key)
                        if key.seq >= log.first_key && key.timestamp >= since && found.len() < limit =>
                    {
                        found.push(key);
                    }
                    Some(_) => return Ok(found),
                    None => {}
                }
                next = keyed;
                if keyed + 1 != event.seq {
                    break;
                }
            }
            at = next;
        }
        Ok(found)
    }

    /// Returns the rows of the keys of trimmed events.
    pub(super) fn trimmed_keys(&self, log: &LogMeta) -> fjall::Iter {
        self.rows.range(rows::key(log.id, log.first_key.min(log.first))..rows::key(log.id, log.first))
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let value = self.rows.get(rows::record(key)).map_err(read_failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    pub(super) fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let from = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(rows::record(after)),
            None => Bound::Included(rows::record(prefix)),
        };
        let (prefix, mut found) = (rows::record(prefix), Vec::new());
        for row in self.rows.range((from, Bound::Unbounded)).take(limit) {
            let (key, value) = row.into_inner().map_err(read_failed)?;
            if !key.starts_with(&prefix) {
                break;
            }
            let key = std::str::from_utf8(&key).map_err(rows::damaged)?;
            found.push((key.chars().skip(1).collect(), Bytes::copy_from_slice(&value)));
        }
        Ok(found)
    }
}

fn page(rows: impl Iterator<Item = Guard>, query: &Query) -> Result<Page, StoreError> {
    let (mut page, mut size) = (Page::default(), 0);
    for (examined, row) in rows.enumerate() {
        let (event, _) = rows::read_event(&row.value().map_err(read_failed)?)?;
        if examined >= MAX_EXAMINED_EVENTS {
            page.next = Some(before(&event, query.order));
            break;
        }
        if !query.matches(event.seq, event.timestamp, &event.event) {
            continue;
        }
        if page.events.len() >= query.limit || (size >= query.max_bytes && size > 0) {
            page.next = page.events.last().map(|last: &StoredEvent| last.seq);
            break;
        }
        size += event.data.len();
        page.events.push(event);
    }
    Ok(page)
}

/// Returns the cursor of a page that begins with an event.
fn before(event: &StoredEvent, order: Order) -> u64 {
    match order {
        Order::OldestFirst => event.seq.saturating_sub(1),
        Order::NewestFirst => event.seq.saturating_add(1),
    }
}
