//! Logs as streams in Redis, records as hashes.
//!
//! | key | |
//! |---|---|
//! | `PREFIX:{room/ID}:log` | a stream; its ids are the epoch and the number of an event |
//! | `PREFIX:{room/ID}:keys`, `…:order` | what was appended under which key: a hash, with the epoch beside, and a sorted set by number |
//! | `PREFIX:{records/GROUP}:values`, `…:names` | records whose keys begin with `GROUP/`: a hash, and a sorted set |
//!
//! Epoch and number are in one key with the events: none of them can be evicted or lost without the others.

mod entry;
mod epoch;
mod scripts;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use redis::{Cmd, Value, cmd};

use super::{Append, Head, Order, Page, Query, Store, StoreError, StoredEvent, StoredKey, Trim};
use crate::redis::{
    Command, Failure, Redis, Script,
    reply::{integer, list, text},
};
pub(crate) use entry::{Entry, event, fields, key, read_key};
pub(crate) use epoch::{Epoch, epoch_text};
use scripts::SCRIPTS;

/// Rooms that one call appends to: others have to wait for it.
const ROOMS: usize = 64;
/// Keys of a room that are remembered.
pub(crate) const KEYS: usize = 10_000;
/// Keys that are read at one time.
const KEYS_PAGE: usize = 1_000;
/// Events that a page looks at, at most: those of other names are looked at too.
const LOOKS: usize = 2_000;
/// What is dropped at one time: others have to wait for it.
const DROPS: usize = 10_000;
/// Records that are read at one time, and bytes of them.
const RECORDS_PAGE: usize = 500;
const RECORDS_BYTES: usize = 1 << 20;

impl Store for Redis {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        let calls: Vec<_> =
            appends.chunks(self.rooms_of_a_call()).map(|some| self.append_some(some)).collect();
        let answers = self.write(&SCRIPTS.append, calls).await;
        let answers = appends.chunks(self.rooms_of_a_call()).zip(answers);
        let answers = answers.flat_map(|(some, answer)| each(answer, some.len()));
        let (mut failed, mut conflict, mut failure) = (Vec::new(), None, None);
        for (place, answer) in answers.enumerate() {
            match answer {
                Ok(Value::Int(1)) => continue,
                Ok(Value::Int(0)) => conflict = appends.get(place).map(|append| Arc::clone(&append.room_id)),
                Ok(other) => failure = Some(Failure::strange("an append", &other)),
                Err(error) => failure = Some(error),
            }
            failed.push(place);
        }
        match (failure, conflict) {
            // The whole server is away: nobody needs to be asked which rooms.
            (Some(failure), _) if failed.len() == appends.len() && self.is_away(&failure) => {
                Err(StoreError::new("can't append to logs in Redis").source(failure))
            }
            (Some(failure), _) => {
                Err(StoreError::new("can't append to a log in Redis").source(failure).only(failed))
            }
            (None, Some(room)) => {
                Err(StoreError::conflict(format!("the log of `{room}` in Redis is another")).only(failed))
            }
            (None, None) => Ok(()),
        }
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        let log = self.keys().room(room_id, "log");
        let read = |name: &str, from: &str, to: &str| {
            let mut read = cmd(name);
            read.arg(&log).arg(from).arg(to).arg("COUNT").arg(1);
            Command::new(log.clone(), read)
        };
        let ends = vec![read("XRANGE", "-", "+"), read("XREVRANGE", "+", "-")];
        let mut entries = Vec::new();
        for end in self.run(ends).await {
            let end = end.map_err(|failure| failed("read the head of the log", failure))?;
            let Some(end) = list(&end) else { return Err(strange("the head of the log", &end)) };
            entries.extend(end.iter().map(Entry::read));
        }
        match entries.as_slice() {
            [] => Ok(None),
            [Some(first), Some(last)] => {
                let event = StoredEvent::decode(last.data.clone()).map_err(garbled)?;
                Ok(Some(Head::new(Arc::clone(&last.epoch), first.seq, event)))
            }
            _ => Err(StoreError::new("what is in the log's place in Redis is no log of this version")),
        }
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        // No names would stand for all.
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
        read.arg(query.limit.max(1)).arg(query.bytes.max(1));
        for edge in [query.after, query.before, query.since, query.until] {
            read.arg(bound(edge));
        }
        read.arg(LOOKS);
        for name in query.events.iter().flatten() {
            read.arg(&**name);
        }
        let answer = self.one(&SCRIPTS.read, log, read, "read the log").await?;
        let Value::Array(parts) = answer else { return Err(strange("a read", &answer)) };
        let mut parts = parts.into_iter();
        let Some(Value::Array(events)) = parts.next() else { return Err(strange("a read", &Value::Nil)) };
        let events = events.into_iter().map(event).collect::<Result<_, _>>().map_err(garbled)?;
        let next = parts.next().and_then(|next| text(&next)?.parse().ok());
        Ok(Page::new(events, next))
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        let (mut found, mut bound) = (Vec::new(), "+inf".to_owned());
        // Each page goes on below the one before.
        while !bound.is_empty() && found.len() < KEYS {
            let keys = self.keys().room(room_id, "keys");
            let mut read = SCRIPTS.keys.call(&[&keys, &self.keys().room(room_id, "order")]);
            read.arg(since).arg(&bound).arg(KEYS_PAGE);
            let answer = self.one(&SCRIPTS.keys, keys, read, "read the keys of a log").await?;
            let Some([epoch, next, pairs @ ..]) = list(&answer) else { return Err(strange("keys", &answer)) };
            let pairs = pairs.chunks_exact(2).filter_map(|pair| match pair {
                [field, value] => read_key(field, value),
                _ => None,
            });
            let epoch = text(epoch).unwrap_or_default();
            found.extend(self.of_this_log(room_id, epoch, pairs.collect()).await?);
            bound = text(next).unwrap_or_default().to_owned();
        }
        found.truncate(KEYS);
        found.reverse();
        Ok(found)
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        let Trim { epoch, first, keys_since } = trim;
        let (Epoch(number), beside) = Epoch::of(&epoch);
        loop {
            let log = self.keys().room(room_id, "log");
            let mut trim = SCRIPTS.trim.call(&[
                &log,
                &self.keys().room(room_id, "keys"),
                &self.keys().room(room_id, "order"),
            ]);
            trim.arg(first).arg(keys_since).arg(DROPS).arg(number).arg(beside);
            match self.one(&SCRIPTS.trim, log, trim, "trim the log").await? {
                Value::Int(0) => return Ok(()),
                Value::Int(_) => {}
                other => return Err(strange("a trim", &other)),
            }
        }
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        let remove = |what: &[&str]| {
            let keys: Vec<_> = what.iter().map(|what| self.keys().room(room_id, what)).collect();
            let mut remove = cmd("UNLINK");
            remove.arg(&keys);
            Command::new(self.keys().room(room_id, "log"), remove)
        };
        // In one command: keys that outlive their log would answer retries with events that are in none.
        let removed = match self.run_one(remove(&["keys", "order", "log"])).await {
            // While a slot moves, a Cluster refuses what names keys of which some are not there.
            Err(_) if !self.is_one() => {
                let each = ["keys", "order", "log"].map(|what| remove(&[what]));
                self.run(each.into()).await.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
            }
            removed => removed.map(drop),
        };
        removed.map_err(|failure| failed("remove the log", failure))
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        let mut groups = std::collections::BTreeMap::<&str, Vec<&(String, Option<Bytes>)>>::new();
        records.iter().for_each(|record| groups.entry(group(&record.0)).or_default().push(record));
        let commands: Vec<_> =
            groups.into_iter().map(|(group, records)| self.put_group(group, &records)).collect();
        let answers = self.write(&SCRIPTS.put, commands).await;
        match answers.into_iter().find_map(Result::err) {
            Some(failure) => Err(failed("write records", failure)),
            None => Ok(()),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let values = self.keys().records(group(key), "values");
        let mut get = cmd("HGET");
        get.arg(&values).arg(key);
        match self.plain(values, get, "read a record").await? {
            Value::Nil => Ok(None),
            Value::BulkString(value) => Ok(Some(value.into())),
            other => Err(strange("HGET", &other)),
        }
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let (values, names) =
            (self.keys().records(group(prefix), "values"), self.keys().records(group(prefix), "names"));
        let mut found: Vec<(String, Bytes)> = Vec::new();
        // No text holds this byte, so that this is after all that begins with the prefix.
        let end = [b"(", prefix.as_bytes(), b"\xff"].concat();
        while found.len() < limit {
            let from = match found.last().map(|(name, _)| name.as_str()).or(after) {
                Some(after) if after >= prefix => format!("({after}"),
                _ => format!("[{prefix}"),
            };
            let mut scan = SCRIPTS.scan.call(&[&values, &names]);
            scan.arg(from).arg(&end).arg((limit - found.len()).min(RECORDS_PAGE)).arg(RECORDS_BYTES);
            let answer = self.one(&SCRIPTS.scan, values.clone(), scan, "list records").await?;
            let Some((more, pairs)) = list(&answer).and_then(<[Value]>::split_first) else {
                return Err(strange("a list of records", &answer));
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

    /// While Redis writes one to its disk, the next is on its way; more would share less of what a disk costs.
    fn concurrency(&self) -> usize {
        2
    }
}

impl Redis {
    /// Rooms that one call appends to: in a Cluster, they are anywhere.
    fn rooms_of_a_call(&self) -> usize {
        if self.is_one() { ROOMS } else { 1 }
    }

    fn append_some(&self, appends: &[Append]) -> Command {
        let has_keys = |append: &Append| append.events.iter().any(|event| event.key.is_some());
        let mut keys = Vec::with_capacity(appends.len());
        for append in appends {
            keys.push(self.keys().room(&append.room_id, "log"));
            // While a slot moves, a Cluster refuses what names keys of which some are not there.
            if has_keys(append) {
                keys.extend(["keys", "order"].map(|what| self.keys().room(&append.room_id, what)));
            }
        }
        let events = appends.iter().flat_map(|append| &append.events);
        let (many, payloads) =
            events.fold((0, 0), |(many, bytes), event| (many + 1, bytes + event.data.len()));
        // What else is in an event, and beside it, is rarely more.
        let mut call = SCRIPTS.append.large_call(
            &keys,
            1 + 5 * appends.len() + 3 * many,
            payloads + 256 * (appends.len() + many),
        );
        call.arg(KEYS);
        let mut bytes = BytesMut::new();
        for append in appends {
            let Append { epoch, events, .. } = append;
            let (Epoch(number), beside) = Epoch::of(epoch);
            let first = events.first().map_or(0, |first| first.seq);
            let before = match first {
                // No event has this id: a log begins with number 1.
                0 => "0-0".to_owned(),
                1 => String::new(),
                next => format!("{number}-{}", next - 1),
            };
            call.arg(if has_keys(append) { "k" } else { "" }).arg(before).arg(format!("{number}-{first}"));
            call.arg(beside).arg(events.len());
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
        Command::new(keys.swap_remove(0), call)
    }

    fn put_group(&self, group: &str, records: &[&(String, Option<Bytes>)]) -> Command {
        let values = self.keys().records(group, "values");
        let mut put = SCRIPTS.put.call(&[&values, &self.keys().records(group, "names")]);
        let written: Vec<_> =
            records.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
        put.arg(written.len());
        for (name, value) in written {
            put.arg(name).arg(&**value);
        }
        for (name, _) in records.iter().filter(|(_, value)| value.is_none()) {
            put.arg(name);
        }
        Command::new(values, put)
    }

    /// Those of some keys whose events are in the room's log, or were trimmed from it: what is there may be another log's.
    async fn of_this_log(
        &self,
        room_id: &str,
        epoch: &str,
        mut keys: Vec<StoredKey>,
    ) -> Result<Vec<StoredKey>, StoreError> {
        if keys.is_empty() {
            return Ok(keys);
        }
        let log = self.keys().room(room_id, "log");
        let mut ask = SCRIPTS.known.call(&[&log]);
        ask.arg(epoch);
        for key in &keys {
            ask.arg(key.seq).arg(key.event_id.as_str());
        }
        let answer = self.one(&SCRIPTS.known, log, ask, "look for the events of keys").await?;
        let mut known = list(&answer).unwrap_or_default().iter().map(|known| integer(known) == Some(1));
        keys.retain(|_| known.next() == Some(true));
        Ok(keys)
    }

    async fn one(&self, script: &Script, key: String, call: Cmd, what: &str) -> Result<Value, StoreError> {
        self.call_one(script, Command::new(key, call)).await.map_err(|failure| failed(what, failure))
    }

    async fn plain(&self, key: String, command: Cmd, what: &str) -> Result<Value, StoreError> {
        self.run_one(Command::new(key, command)).await.map_err(|failure| failed(what, failure))
    }
}

/// What a call on several rooms came to for each of them.
fn each(answer: Result<Value, Failure>, rooms: usize) -> Vec<Result<Value, Failure>> {
    match answer {
        Ok(Value::Array(answers)) if answers.len() == rooms => {
            answers.into_iter().map(|one| crate::redis::answer(Some(one))).collect()
        }
        Ok(other) => vec![Ok(other); rooms],
        Err(failure) => vec![Err(failure); rooms],
    }
}

/// What records are kept together by: the first part of their key, which a prefix has whole.
pub(crate) fn group(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

pub(crate) fn failed(what: &str, failure: Failure) -> StoreError {
    StoreError::new(format!("can't {what} in Redis")).source(failure)
}

pub(crate) fn strange(what: &str, answer: &Value) -> StoreError {
    StoreError::new("Redis answers as none that is known").source(Failure::strange(what, answer))
}

pub(crate) fn garbled(error: super::NotStored) -> StoreError {
    StoreError::new("can't read an event in Redis").source(error)
}
