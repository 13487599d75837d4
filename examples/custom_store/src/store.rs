//! [`Sqlite`], a store over SQLite. An implementation for PostgreSQL would look much the same: statements in
//! transactions.

use std::path::Path;

use bytes::Bytes;
use dialogue::{
    store::{Append, Head, Order, Page, Query, Store, StoreError, StoredEvent, StoredKey, Trim},
    wire::Id,
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::database::Database;

/// Logs and records in one SQLite file.
pub(crate) struct Sqlite {
    database: Database,
}

/// The maximum number of rows that a page examines: a filter by name that matches nothing must not read the whole log.
const MAX_EXAMINED_ROWS: i64 = 2_000;
/// The maximum number of rows that one transaction deletes, so that appends can run between two of them.
const DELETE_CHUNK: i64 = 1_000;
/// The maximum number of keys that are returned for a room.
const MAX_KEYS: i64 = 10_000;

impl Sqlite {
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Ok(Sqlite { database: Database::open(path.as_ref())? })
    }
}

impl Store for Sqlite {
    /// Appends to all rooms in one transaction, and so with one sync (group commit).
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        let failed = failed("append events");
        let append = move |connection: &mut Connection| {
            let transaction = connection.transaction().map_err(failed)?;
            let mut conflicts = Vec::new();
            for (index, append) in appends.iter().enumerate() {
                if !append_one(&transaction, append).map_err(failed)? {
                    conflicts.push(index);
                }
            }
            transaction.commit().map_err(failed)?;
            if conflicts.is_empty() {
                return Ok(());
            }
            Err(StoreError::conflict("can't append: the log holds other events").for_rooms(conflicts))
        };
        self.database.run("append events", append).await
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        let room_id = room_id.to_owned();
        let head = move |connection: &mut Connection| {
            let query = "SELECT epoch, (SELECT min(seq) FROM events WHERE room_id = ?1), body
                         FROM logs JOIN events USING (room_id) WHERE room_id = ?1 ORDER BY seq DESC LIMIT 1";
            let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?));
            let row = connection
                .prepare_cached(query)
                .and_then(|mut query| query.query_row([&room_id], read).optional());
            let Some((epoch, first, body)) = row.map_err(failed("read the head"))? else { return Ok(None) };
            Ok(Some(Head::new(epoch.into(), unsigned(first), event(body)?)))
        };
        self.database.run("read the head", head).await
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        let room_id = room_id.to_owned();
        self.database.run("read events", move |connection| read(connection, &room_id, &query)).await
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        let (room_id, failed) = (room_id.to_owned(), failed("read keys"));
        let keys = move |connection: &mut Connection| {
            let query = "SELECT sender, key, seq, event_id, timestamp FROM keys
                         WHERE room_id = ?1 AND timestamp >= ?2 ORDER BY seq DESC LIMIT ?3";
            let mut query = connection.prepare_cached(query).map_err(failed)?;
            let rows =
                query.query_map(params![room_id, signed(since), MAX_KEYS], stored_key).map_err(failed)?;
            let mut keys = rows.collect::<Result<Vec<_>, _>>().map_err(failed)?;
            keys.reverse();
            Ok(keys)
        };
        self.database.run("read keys", keys).await
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        loop {
            let (room_id, trim, failed) = (room_id.to_owned(), trim.clone(), failed("trim the log"));
            let drop = move |connection: &mut Connection| {
                let events = "DELETE FROM events
                              WHERE room_id = (SELECT room_id FROM logs WHERE room_id = ?1 AND epoch = ?4) AND seq < min(
                                  ?2,
                                  (SELECT max(seq) FROM events WHERE room_id = ?1),
                                  (SELECT min(seq) + ?3 FROM events WHERE room_id = ?1))";
                let keys = "DELETE FROM keys
                            WHERE room_id = (SELECT room_id FROM logs WHERE room_id = ?1 AND epoch = ?4) AND seq IN (
                                SELECT seq FROM keys WHERE room_id = ?1 AND timestamp < ?2 ORDER BY seq LIMIT ?3)";
                let mut dropped = 0;
                for (statement, bound) in [(events, trim.first), (keys, trim.keys_since)] {
                    let mut statement = connection.prepare_cached(statement).map_err(failed)?;
                    let bounds = params![room_id, signed(bound), DELETE_CHUNK, trim.epoch];
                    dropped += statement.execute(bounds).map_err(failed)?;
                }
                Ok(dropped)
            };
            if self.database.run("trim the log", drop).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        let (room_id, failed) = (room_id.to_owned(), failed("remove the log"));
        let remove = move |connection: &mut Connection| {
            let transaction = connection.transaction().map_err(failed)?;
            for table in ["logs", "events", "keys"] {
                let statement = format!("DELETE FROM {table} WHERE room_id = ?1");
                transaction.execute(&statement, [&room_id]).map_err(failed)?;
            }
            transaction.commit().map_err(failed)
        };
        self.database.run("remove the log", remove).await
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        let failed = failed("write records");
        let put = move |connection: &mut Connection| {
            let transaction = connection.transaction().map_err(failed)?;
            for (key, value) in &records {
                let written = match value {
                    Some(value) => {
                        transaction.execute("REPLACE INTO records VALUES (?1, ?2)", params![key, &value[..]])
                    }
                    None => transaction.execute("DELETE FROM records WHERE key = ?1", [key]),
                };
                written.map_err(failed)?;
            }
            transaction.commit().map_err(failed)
        };
        self.database.run("write records", put).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = key.to_owned();
        let get = move |connection: &mut Connection| {
            let query = connection.prepare_cached("SELECT value FROM records WHERE key = ?1");
            let value = query
                .and_then(|mut query| query.query_row([&key], |row| row.get::<_, Vec<u8>>(0)).optional());
            Ok(value.map_err(failed("read a record"))?.map(Bytes::from))
        };
        self.database.run("read a record", get).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.unwrap_or_default().to_owned());
        let scan = move |connection: &mut Connection| {
            // A range instead of LIKE, which has wildcards and ignores case. A prefix ends with `/`, and the next
            // character is `0`.
            let end = prefix
                .strip_suffix('/')
                .map_or_else(|| "\u{10ffff}".to_owned(), |prefix| format!("{prefix}0"));
            let query = "SELECT key, value FROM records WHERE key >= ?1 AND key < ?2 AND key > ?3 ORDER BY key LIMIT ?4";
            let read = |row: &Row<'_>| Ok((row.get(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?)));
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let records = connection.prepare_cached(query).and_then(|mut query| {
                query.query_map(params![prefix, end, after, limit], read)?.collect::<Result<Vec<_>, _>>()
            });
            records.map_err(failed("read records"))
        };
        self.database.run("read records", scan).await
    }
}

/// Appends events if they continue the room's log, and returns whether they do.
fn append_one(transaction: &Transaction<'_>, append: &Append) -> rusqlite::Result<bool> {
    let log = "SELECT epoch, (SELECT max(seq) FROM events WHERE room_id = ?1) FROM logs WHERE room_id = ?1";
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    let log = transaction.prepare_cached(log)?.query_row([&append.room_id], read).optional()?;
    let first = append.events.first().map_or(0, |first| signed(first.seq));
    match log {
        Some((epoch, last)) if *epoch == *append.epoch && first == last + 1 => {}
        None if first == 1 => {
            transaction.execute("INSERT INTO logs VALUES (?1, ?2)", [&append.room_id, &append.epoch])?;
        }
        _ => return Ok(false),
    }
    let mut event = transaction.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut key = transaction.prepare_cached("INSERT INTO keys VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for stored in &append.events {
        let (seq, timestamp) = (signed(stored.seq), signed(stored.timestamp));
        event.execute(params![append.room_id, seq, timestamp, stored.event, &stored.encode()[..]])?;
        if let Some(text) = &stored.key {
            key.execute(params![
                append.room_id,
                seq,
                timestamp,
                stored.from,
                text,
                stored.event_id.as_str()
            ])?;
        }
    }
    Ok(true)
}

fn read(connection: &Connection, room_id: &str, query: &Query) -> Result<Page, StoreError> {
    let failed = failed("read events");
    let Some((after, before)) = bounds(connection, room_id, query).map_err(failed)? else {
        return Ok(Page::default());
    };
    let select = match query.order {
        Order::OldestFirst => {
            "SELECT body FROM events WHERE room_id = ?1 AND seq > ?2 AND seq < ?3 ORDER BY seq LIMIT ?4"
        }
        Order::NewestFirst => {
            "SELECT body FROM events WHERE room_id = ?1 AND seq > ?2 AND seq < ?3 ORDER BY seq DESC LIMIT ?4"
        }
    };
    let mut select = connection.prepare_cached(select).map_err(failed)?;
    let mut rows = select.query(params![room_id, after, before, MAX_EXAMINED_ROWS]).map_err(failed)?;

    let (mut page, mut size, mut examined) = (Page::default(), 0, 0);
    while let Some(row) = rows.next().map_err(failed)? {
        let event = event(row.get(0).map_err(failed)?)?;
        examined += 1;
        page.next = Some(event.seq);
        if !query.matches(event.seq, event.timestamp, &event.event) {
            continue;
        }
        size += event.data.len();
        page.events.push(event);
        if page.events.len() >= query.limit || size >= query.max_bytes {
            return Ok(page);
        }
    }
    if examined < MAX_EXAMINED_ROWS {
        page.next = None;
    }
    Ok(page)
}

/// Returns the numbers between which the events of a query are (both exclusive), or `None` if there can be no event.
/// Times never fall while numbers grow, so that a bound by time becomes a bound by number, by one look into the index.
fn bounds(connection: &Connection, room_id: &str, query: &Query) -> rusqlite::Result<Option<(i64, i64)>> {
    let from_time = |time: u64| {
        let select =
            "SELECT seq FROM events WHERE room_id = ?1 AND timestamp >= ?2 ORDER BY timestamp, seq LIMIT 1";
        let mut select = connection.prepare_cached(select)?;
        select.query_row(params![room_id, signed(time)], |row| row.get::<_, i64>(0)).optional()
    };
    let mut after = query.after.map_or(0, signed);
    let mut before = query.before.map_or(i64::MAX, signed);
    if let Some(since) = query.since {
        let Some(first) = from_time(since)? else { return Ok(None) };
        after = after.max(first - 1);
    }
    if let Some(until) = query.until {
        before = before.min(from_time(until)?.unwrap_or(i64::MAX));
    }
    Ok(Some((after, before)))
}

fn event(body: Vec<u8>) -> Result<StoredEvent, StoreError> {
    StoredEvent::decode(body.into())
        .map_err(|error| StoreError::new("can't read an event").with_source(error))
}

fn stored_key(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    let (from, key, id): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
    let id = Id::parse(&id).ok_or(rusqlite::Error::InvalidColumnType(
        3,
        "event_id".into(),
        rusqlite::types::Type::Text,
    ))?;
    Ok(StoredKey::new(from.into(), key.into(), unsigned(row.get(2)?), id, unsigned(row.get(4)?)))
}

fn failed(attempt: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + Copy + Send + 'static {
    move |error| StoreError::new(format!("can't {attempt}")).with_source(error)
}

/// Converts to a signed integer, since SQLite has no others. A number too large for it is larger than every event's.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::Sqlite;

    dialogue::testing::store_suite! {
        mod sqlite;
        place = || TempDir::new().expect("a directory for the test");
        open = async |place: &TempDir| Sqlite::open(place.path().join("chat.sqlite")).expect("a database");
    }
}
