//! The Redis store: [`Store`] for [`Redis`], with logs as
//! [streams](https://redis.io/docs/latest/develop/data-types/streams/) and records as hashes.
//!
//! | key | type and contents |
//! |---|---|
//! | `PREFIX:{room/ID}:log` | stream of events; the id of an entry is `EPOCH-NUMBER` |
//! | `PREFIX:{room/ID}:keys` | hash of idempotency keys, and the epoch of their log in the field `epoch` |
//! | `PREFIX:{room/ID}:order` | sorted set of the same keys by the number of their event |
//! | `PREFIX:{records/GROUP}:values` | hash of the records whose keys begin with `GROUP/` |
//! | `PREFIX:{records/GROUP}:names` | sorted set of their keys, which scans read in lexicographic order |
//!
//! The epoch and the numbers are in the ids of the stream, so that they can't be evicted or lost without the events.
//! Each change of a log is one atomic script or command. The Redis backplane shares these keys.

mod entry;
mod epoch;
mod scripts;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dialogue_core::store::{
    Append, DecodeError, Head, Order, Page, Query, Store, StoreError, StoredEvent, StoredKey, Trim,
};
use redis::{Cmd, Value, cmd};

use crate::{
    client::Redis,
    command::{
        CommandError, KeyedCommand, Script,
        reply::{integer, into_result, list, text},
    },
};
pub(crate) use entry::{StreamEntry, decode_key, event, key, key_fields};
pub(crate) use epoch::{EpochNumber, epoch_text};
use scripts::SCRIPTS;

/// The maximum number of rooms in one call of the append script, which blocks the server while it runs.
const ROOMS_PER_CALL: usize = 64;
/// The maximum number of idempotency keys that are kept for a room.
pub(crate) const MAX_KEYS: usize = 10_000;
/// The number of keys that one call reads.
const KEYS_PER_CALL: usize = 1_000;
/// The maximum number of events that one page examines, also if a filter selects none of them.
const MAX_EXAMINED_EVENTS: usize = 2_000;
/// The maximum number of events, and of keys, that one call deletes; the script blocks the server while it runs.
const TRIM_CHUNK: usize = 10_000;
/// The maximum number of records that one call reads.
const RECORDS_PER_CALL: usize = 500;
/// The size of values, in bytes, at which a call ends.
const RECORD_BYTES_PER_CALL: usize = 1 << 20;

impl Store for Redis {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        let calls: Vec<_> =
            appends.chunks(self.rooms_per_call()).map(|chunk| self.append_call(chunk)).collect();
        let replies = self.write(&SCRIPTS.append, calls).await;
        let replies = appends.chunks(self.rooms_per_call()).zip(replies);
        let replies = replies.flat_map(|(chunk, reply)| split_replies(reply, chunk.len()));
        let (mut failed, mut conflict, mut failure) = (Vec::new(), None, None);
        for (index, reply) in replies.enumerate() {
            match reply {
                Ok(Value::Int(1)) => continue,
                Ok(Value::Int(0)) => conflict = appends.get(index).map(|append| Arc::clone(&append.room_id)),
                Ok(other) => failure = Some(CommandError::unexpected_reply("an append", &other)),
                Err(error) => failure = Some(error),
            }
            failed.push(index);
        }
        match (failure, conflict) {
            // The whole server is unavailable, so the error isn't limited to rooms.
            (Some(failure), _) if failed.len() == appends.len() && self.is_unavailable(&failure) => {
                Err(StoreError::new("can't append to logs in Redis").with_source(failure))
            }
            (Some(failure), _) => {
                Err(StoreError::new("can't append to a log in Redis").with_source(failure).for_rooms(failed))
            }
            (None, Some(room)) => {
                let message =
                    format!("can't append: the log of `{room}` in Redis has another epoch or other events");
                Err(StoreError::conflict(message).for_rooms(failed))
            }
            (None, None) => Ok(()),
        }
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        let log = self.keys().room(room_id, "log");
        let read = |name: &str, from: &str, to: &str| {
            let mut read = cmd(name);
            read.arg(&log).arg(from).arg(to).arg("COUNT").arg(1);
            KeyedCommand::new(log.clone(), read)
        };
        let ends = vec![read("XRANGE", "-", "+"), read("XREVRANGE", "+", "-")];
        let mut entries = Vec::new();
        for end in self.run(ends).await {
            let end = end.map_err(|failure| failed("read the head of the log", failure))?;
            let Some(end) = list(&end) else { return Err(unexpected_reply("the head of the log", &end)) };
            entries.extend(end.iter().map(StreamEntry::parse));
        }
        match entries.as_slice() {
            [] => Ok(None),
            [Some(first), Some(last)] => {
                let event = StoredEvent::decode(last.data.clone()).map_err(malformed_event)?;
                Ok(Some(Head::new(Arc::clone(&last.epoch), first.seq, event)))
            }
            _ => Err(StoreError::new(
                "can't read the head of the log in Redis: its stream has an unknown format",
            )),
        }
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        // The script takes an empty list of names for no filter.
        if query.events.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Page::default());
        }
        let log = self.keys().room(room_id, "log");
        let mut read = SCRIPTS.read.call(&[&log]);
        let bound = |bound: Option<u64>| bound.map_or_else(String::new, |bound| bound.to_string());
        read.arg(match query.order {
            Order::OldestFirst => "oldest",
            Order::NewestFirst => "newest",
        });
        read.arg(query.limit.max(1)).arg(query.max_bytes.max(1));
        for edge in [query.after, query.before, query.since, query.until] {
            read.arg(bound(edge));
        }
        read.arg(MAX_EXAMINED_EVENTS);
        for name in query.events.iter().flatten() {
            read.arg(&**name);
        }
        let reply = self.call_script(&SCRIPTS.read, log, read, "read the log").await?;
        let Value::Array(parts) = reply else { return Err(unexpected_reply("a read", &reply)) };
        let mut parts = parts.into_iter();
        let Some(Value::Array(events)) = parts.next() else {
            return Err(unexpected_reply("a read", &Value::Nil));
        };
        let events = events.into_iter().map(event).collect::<Result<_, _>>().map_err(malformed_event)?;
        let next = parts.next().and_then(|next| text(&next)?.parse().ok());
        Ok(Page::new(events, next))
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        let (mut found, mut bound) = (Vec::new(), "+inf".to_owned());
        // Reads downwards, from the newest key to the oldest.
        while !bound.is_empty() && found.len() < MAX_KEYS {
            let keys = self.keys().room(room_id, "keys");
            let mut read = SCRIPTS.keys.call(&[&keys, &self.keys().room(room_id, "order")]);
            read.arg(since).arg(&bound).arg(KEYS_PER_CALL);
            let reply = self.call_script(&SCRIPTS.keys, keys, read, "read the keys of a log").await?;
            let Some([epoch, next, pairs @ ..]) = list(&reply) else {
                return Err(unexpected_reply("keys", &reply));
            };
            let pairs = pairs.chunks_exact(2).filter_map(|pair| match pair {
                [field, value] => decode_key(field, value),
                _ => None,
            });
            let epoch = text(epoch).unwrap_or_default();
            found.extend(self.keys_of_log(room_id, epoch, pairs.collect()).await?);
            bound = text(next).unwrap_or_default().to_owned();
        }
        found.truncate(MAX_KEYS);
        found.reverse();
        Ok(found)
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        let Trim { epoch, first, keys_since, .. } = trim;
        let (EpochNumber(number), explicit_epoch) = EpochNumber::from_text(&epoch);
        loop {
            let log = self.keys().room(room_id, "log");
            let mut trim = SCRIPTS.trim.call(&[
                &log,
                &self.keys().room(room_id, "keys"),
                &self.keys().room(room_id, "order"),
            ]);
            trim.arg(first).arg(keys_since).arg(TRIM_CHUNK).arg(number).arg(explicit_epoch);
            match self.call_script(&SCRIPTS.trim, log, trim, "trim the log").await? {
                Value::Int(0) => return Ok(()),
                Value::Int(_) => {}
                other => return Err(unexpected_reply("a trim", &other)),
            }
        }
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        let remove = |part: &[&str]| {
            let keys: Vec<_> = part.iter().map(|part| self.keys().room(room_id, part)).collect();
            let mut remove = cmd("UNLINK");
            remove.arg(&keys);
            KeyedCommand::new(self.keys().room(room_id, "log"), remove)
        };
        // In one command: idempotency keys that outlive their log would answer retries with events that don't exist.
        let removed = match self.run_one(remove(&["keys", "order", "log"])).await {
            // While a slot migrates, a Cluster refuses commands on several keys unless all of them exist on one node.
            Err(_) if !self.is_single_server() => {
                let single = ["keys", "order", "log"].map(|part| remove(&[part]));
                self.run(single.into()).await.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
            }
            removed => removed.map(drop),
        };
        removed.map_err(|failure| failed("remove the log", failure))
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        let mut groups = std::collections::BTreeMap::<&str, Vec<&(String, Option<Bytes>)>>::new();
        records.iter().for_each(|record| groups.entry(record_group(&record.0)).or_default().push(record));
        let commands: Vec<_> =
            groups.into_iter().map(|(group, records)| self.put_call(group, &records)).collect();
        let replies = self.write(&SCRIPTS.put, commands).await;
        match replies.into_iter().find_map(Result::err) {
            Some(failure) => Err(failed("write records", failure)),
            None => Ok(()),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let values = self.keys().records(record_group(key), "values");
        let mut get = cmd("HGET");
        get.arg(&values).arg(key);
        match self.run_command(values, get, "read a record").await? {
            Value::Nil => Ok(None),
            Value::BulkString(value) => Ok(Some(value.into())),
            other => Err(unexpected_reply("HGET", &other)),
        }
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let (values, names) = (
            self.keys().records(record_group(prefix), "values"),
            self.keys().records(record_group(prefix), "names"),
        );
        let mut found: Vec<(String, Bytes)> = Vec::new();
        // The byte 0xFF doesn't occur in UTF-8, so that this sorts behind every key with the prefix.
        let end = [b"(", prefix.as_bytes(), b"\xff"].concat();
        while found.len() < limit {
            let from = match found.last().map(|(name, _)| name.as_str()).or(after) {
                Some(after) if after >= prefix => format!("({after}"),
                _ => format!("[{prefix}"),
            };
            let mut scan = SCRIPTS.scan.call(&[&values, &names]);
            scan.arg(from)
                .arg(&end)
                .arg((limit - found.len()).min(RECORDS_PER_CALL))
                .arg(RECORD_BYTES_PER_CALL);
            let reply = self.call_script(&SCRIPTS.scan, values.clone(), scan, "list records").await?;
            let Some((more, pairs)) = list(&reply).and_then(<[Value]>::split_first) else {
                return Err(unexpected_reply("a list of records", &reply));
            };
            for pair in pairs.chunks_exact(2) {
                if let [name, Value::BulkString(value)] = pair
                    && let Some(name) = text(name)
                {
                    found.push((name.to_owned(), Bytes::copy_from_slice(value)));
                }
            }
            if integer(more) != Some(1) {
                break;
            }
        }
        Ok(found)
    }

    /// Two: the second is on its way while Redis syncs the first to its disk. With more, fewer events would share a
    /// sync.
    fn max_concurrent_appends(&self) -> usize {
        2
    }
}

impl Redis {
    /// Returns the number of rooms that one call appends to: one in a Cluster, where rooms are in different slots.
    fn rooms_per_call(&self) -> usize {
        if self.is_single_server() { ROOMS_PER_CALL } else { 1 }
    }

    fn append_call(&self, appends: &[Append]) -> KeyedCommand {
        let has_keys = |append: &Append| append.events.iter().any(|event| event.key.is_some());
        let mut keys = Vec::with_capacity(appends.len());
        for append in appends {
            keys.push(self.keys().room(&append.room_id, "log"));
            // Names only keys that are needed: while a slot migrates, a Cluster refuses a call of which some don't
            // exist.
            if has_keys(append) {
                keys.extend(["keys", "order"].map(|part| self.keys().room(&append.room_id, part)));
            }
        }
        let events = appends.iter().flat_map(|append| &append.events);
        let (many, payloads) =
            events.fold((0, 0), |(many, bytes), event| (many + 1, bytes + event.data.len()));
        // 256 bytes per event and room are nearly always enough for everything but the payloads.
        let mut call = SCRIPTS.append.call_with_capacity(
            &keys,
            1 + 5 * appends.len() + 3 * many,
            payloads + 256 * (appends.len() + many),
        );
        call.arg(MAX_KEYS);
        let mut bytes = BytesMut::new();
        for append in appends {
            let Append { epoch, events, .. } = append;
            let (EpochNumber(number), explicit_epoch) = EpochNumber::from_text(epoch);
            let first = events.first().map_or(0, |first| first.seq);
            let before = match first {
                // Matches no event, since a log begins with number 1.
                0 => "0-0".to_owned(),
                1 => String::new(),
                next => format!("{number}-{}", next - 1),
            };
            call.arg(if has_keys(append) { "k" } else { "" }).arg(before).arg(format!("{number}-{first}"));
            call.arg(explicit_epoch).arg(events.len());
            for event in events {
                bytes.clear();
                event.encode_into(&mut bytes);
                call.arg(&*bytes);
            }
            if has_keys(append) {
                for event in events {
                    let (field, value) = StoredKey::of(event).as_ref().map(key).unwrap_or_default();
                    call.arg(field).arg(value);
                }
            }
        }
        KeyedCommand::new(keys.swap_remove(0), call)
    }

    fn put_call(&self, record_group: &str, records: &[&(String, Option<Bytes>)]) -> KeyedCommand {
        let values = self.keys().records(record_group, "values");
        let mut put = SCRIPTS.put.call(&[&values, &self.keys().records(record_group, "names")]);
        let written: Vec<_> =
            records.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
        put.arg(written.len());
        for (name, value) in written {
            put.arg(name).arg(&**value);
        }
        for (name, _) in records.iter().filter(|(_, value)| value.is_none()) {
            put.arg(name);
        }
        KeyedCommand::new(values, put)
    }

    /// Returns those of some keys whose events are in the room's log or were trimmed from it. The stored keys may
    /// belong to an earlier log of the room.
    async fn keys_of_log(
        &self,
        room_id: &str,
        epoch: &str,
        mut keys: Vec<StoredKey>,
    ) -> Result<Vec<StoredKey>, StoreError> {
        if keys.is_empty() {
            return Ok(keys);
        }
        let log = self.keys().room(room_id, "log");
        let mut call = SCRIPTS.contains.call(&[&log]);
        call.arg(epoch);
        for key in &keys {
            call.arg(key.seq).arg(key.event_id.as_str());
        }
        let reply = self.call_script(&SCRIPTS.contains, log, call, "look for the events of keys").await?;
        let mut contained =
            list(&reply).unwrap_or_default().iter().map(|contained| integer(contained) == Some(1));
        keys.retain(|_| contained.next() == Some(true));
        Ok(keys)
    }

    async fn call_script(
        &self,
        script: &Script,
        key: String,
        call: Cmd,
        attempt: &str,
    ) -> Result<Value, StoreError> {
        self.call_one(script, KeyedCommand::new(key, call)).await.map_err(|failure| failed(attempt, failure))
    }

    async fn run_command(&self, key: String, command: Cmd, attempt: &str) -> Result<Value, StoreError> {
        self.run_one(KeyedCommand::new(key, command)).await.map_err(|failure| failed(attempt, failure))
    }
}

/// Returns the reply for each room of a call for several.
fn split_replies(reply: Result<Value, CommandError>, rooms: usize) -> Vec<Result<Value, CommandError>> {
    match reply {
        Ok(Value::Array(replies)) if replies.len() == rooms => {
            replies.into_iter().map(|reply| into_result(Some(reply))).collect()
        }
        Ok(other) => vec![Ok(other); rooms],
        Err(failure) => vec![Err(failure); rooms],
    }
}

/// Returns the group of a record: the part of its key before the first `/`, which every prefix includes.
pub(crate) fn record_group(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

pub(crate) fn failed(attempt: &str, failure: CommandError) -> StoreError {
    StoreError::new(format!("can't {attempt} in Redis")).with_source(failure)
}

pub(crate) fn unexpected_reply(attempt: &str, reply: &Value) -> StoreError {
    StoreError::new("Redis sent an unexpected reply")
        .with_source(CommandError::unexpected_reply(attempt, reply))
}

pub(crate) fn malformed_event(error: DecodeError) -> StoreError {
    StoreError::new("can't read an event in Redis").with_source(error)
}
