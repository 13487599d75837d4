//! What the store has of one room, when it comes into memory.

use std::{collections::VecDeque, sync::Arc};

use super::Archive;
use crate::{
    backplane::Member,
    hub::{RoomDecl, declared::Info},
    log::{self, KEPT_MS, Log, TAIL, TAIL_BYTES, epoch},
    store::{Order, Page, Query, StoreError, StoredEvent, StoredKey},
    wire::Accepted,
};

/// What there is of a room.
pub(crate) struct Found {
    pub(crate) info: Option<Info>,
    pub(crate) log: Option<FoundLog>,
    pub(crate) state: Option<Saved>,
    /// Who is in it elsewhere, by the word of anybody.
    pub(crate) members: Vec<Member>,
}

/// A room's own state, as it was saved.
#[derive(Debug, Clone, Default)]
pub(crate) struct Saved {
    /// How often it was saved.
    pub(crate) version: u64,
    /// As JSON.
    pub(crate) json: bytes::Bytes,
}

/// What a log begins again from.
pub(crate) struct FoundLog {
    /// What the log is called.
    epoch: Arc<str>,
    /// What the store calls it.
    pub(crate) stored_as: Arc<str>,
    first: u64,
    last: StoredEvent,
    /// The newest events, newest first.
    tail: Vec<StoredEvent>,
    keys: Vec<StoredKey>,
    /// Of kinds of event that are kept by their number: the newest ones' numbers, newest first.
    counted: Vec<(u8, Vec<u64>)>,
}

impl Archive {
    /// Looks for a room. Costs the same whether its log is long or short.
    pub(crate) async fn find(&self, room: &RoomDecl, room_id: &str, now: u64) -> Result<Found, StoreError> {
        let state = async { if room.options.state { self.state(room_id).await } else { Ok(None) } };
        let known = async { if room.keyed { self.known(room_id).await } else { Ok(None) } };
        let members = async {
            match &self.peers {
                Some(peers) => peers.members(room_id).await,
                None => Ok(Vec::new()),
            }
        };
        let (info, head, state, members) =
            tokio::try_join!(known, self.journal.head(room_id), state, members)?;
        let Some(head) = head else { return Ok(Found { info, log: None, state, members }) };
        let mut newest = Query::new(Order::NewestFirst, TAIL);
        // What comes after that while this is read belongs to somebody else.
        newest.before = Some(head.last.seq + 1);
        newest.max_bytes = usize::try_from(TAIL_BYTES).unwrap_or(usize::MAX);
        let keys = self.journal.keys(room_id, now.saturating_sub(KEPT_MS));
        let generation = self.generation(room_id);
        let (page, keys, generation) =
            tokio::try_join!(self.journal.read(room_id, newest), keys, generation)?;
        let mut counted = Vec::new();
        for (event, most) in room.counted() {
            counted.push((event, self.newest_of(room_id, room.event_name(event), most).await?));
        }
        let log = FoundLog {
            epoch: generation.unwrap_or_else(|| Arc::clone(&head.epoch)),
            stored_as: head.epoch,
            first: head.first,
            last: head.last,
            tail: page.events,
            keys,
            counted,
        };
        Ok(Found { info, log: Some(log), state, members })
    }

    /// The numbers of a room's newest events of one name, newest first.
    async fn newest_of(&self, room_id: &str, name: &str, most: u64) -> Result<Vec<u64>, StoreError> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut query = Query::new(Order::NewestFirst, most);
        query.events = Some(vec![name.into()]);
        let mut found = Vec::new();
        loop {
            let Page { events, next } = self.journal.read(room_id, query.clone()).await?;
            found.extend(events.iter().map(|event| event.seq));
            if found.len() >= most || next.is_none() {
                return Ok(found);
            }
            (query.before, query.limit) = (next, most - found.len());
        }
    }

    /// What a log is called, if that is another name than the store has for it.
    pub(in crate::hub) async fn generation(&self, room_id: &str) -> Result<Option<Arc<str>>, StoreError> {
        let name = self.journal.get(&generation_of(room_id)).await?;
        Ok(name.and_then(|name| std::str::from_utf8(&name).ok().map(Arc::from)))
    }

    /// The log is no more, and neither is what it was called.
    pub(crate) async fn forget_generation(&self, room_id: &str) -> Result<(), StoreError> {
        match self.generation(room_id).await? {
            Some(_) => self.journal.put(vec![(generation_of(room_id), None)]).await,
            None => Ok(()),
        }
    }

    /// Calls a log otherwise, unless another instance did: its numbers were given before, to events that it no longer has.
    pub(crate) async fn new_generation(&self, room_id: &str, known_as: &str) -> Result<(), StoreError> {
        let key = generation_of(room_id);
        let now = self.journal.get(&key).await?;
        if now.as_deref().is_some_and(|now| now != known_as.as_bytes()) {
            return Ok(());
        }
        let name = bytes::Bytes::copy_from_slice(epoch::fresh().as_bytes());
        self.journal.swap(&key, now, Some(name)).await.map(drop)
    }

    /// A room's own state.
    pub(crate) async fn state(&self, room_id: &str) -> Result<Option<Saved>, StoreError> {
        let Some(mut value) = self.journal.get(&state_of(room_id)).await? else { return Ok(None) };
        let version = bytes::Buf::try_get_u64(&mut value)
            .map_err(|_| StoreError::new("the record of a room's state is damaged"))?;
        Ok(Some(Saved { version, json: value }))
    }

    /// Saves a room's own state.
    pub(crate) async fn save_state(
        &self,
        room_id: &str,
        before: &Saved,
        state: &Saved,
    ) -> Result<(), StoreError> {
        let key = state_of(room_id);
        let record =
            |saved: &Saved| bytes::Bytes::from([&saved.version.to_be_bytes()[..], &saved.json].concat());
        if self.peers.is_none() {
            return self.journal.put(vec![(key, Some(record(state))), self.used_now(room_id)]).await;
        }
        let before = (before.version > 0).then(|| record(before));
        match self.journal.swap(&key, before, Some(record(state))).await? {
            true => {
                self.note_left(&Arc::from(room_id));
                Ok(())
            }
            false => Err(StoreError::new("another instance saved the room's state meanwhile")),
        }
    }
}

/// The key of the record that holds a room's own state: 8 bytes of its version, and JSON.
pub(super) fn state_of(room_id: &str) -> String {
    format!("state/{room_id}")
}

/// The key of the record that says what a log is called.
pub(super) fn generation_of(room_id: &str) -> String {
    format!("generation/{room_id}")
}

impl FoundLog {
    /// Makes the log of it.
    pub(crate) fn restore(self, room: &RoomDecl, room_id: &str) -> Log {
        let FoundLog { epoch, first, last, tail, keys, counted, stored_as: _ } = self;
        let mut log = Log::new(epoch, room.options.retention, &room.own_retention()).stored();
        let record = |stored: &StoredEvent| Arc::new(room.record(room_id, stored));
        let size = record(&last).size();
        let head = log::Head {
            newest: Some((last.seq, last.event_id)),
            timestamp: last.timestamp,
            offset: last.offset + size,
            digest: last.digest.map(Box::new),
        };
        let tail = tail.iter().map(record).collect::<VecDeque<_>>();
        log.restore(first, head, tail.into_iter().rev().collect());
        for (event, seqs) in counted {
            log.recall(event, seqs.into_iter().rev().collect());
        }
        for StoredKey { from, key, seq, event_id, timestamp } in keys {
            let event_id = event_id.as_str().to_owned();
            log.keys.remember(
                &from,
                &key,
                Accepted { seq: Some(seq), event_id, timestamp, duplicate: false },
            );
        }
        log
    }
}
