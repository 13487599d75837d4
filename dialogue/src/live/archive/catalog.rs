//! The catalog: the records of all rooms in the store, in memory or not, and the server's own records.
//!
//! The record `room/ID` holds a room's info, and `creator/USER/ID` notes that the user created it.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{
    Archive,
    last_use::key as last_used_key,
    load::{epoch_override_key, state_key},
};
use crate::{live::room_spec::RoomInstanceInfo, store::StoreError};

/// The record of a room.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoomRecord<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_size: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_by: Option<Cow<'a, str>>,
    /// Set if the room was created explicitly, rather than by a first join.
    #[serde(default)]
    created: bool,
}

const ROOM_PREFIX: &str = "room/";
const EPOCH_KEY: &str = "server/epoch";
const SECRET_KEY: &str = "server/secret";
/// The interval between two counts of all rooms.
const RECOUNT_INTERVAL: Duration = Duration::from_secs(10);
/// Records per page of a count.
const SCAN_PAGE_RECORDS: usize = 1_000;

impl Archive {
    /// Returns the epoch of new logs. It outlives the process, so that a client that comes back to a room without
    /// events finds it unchanged.
    pub(crate) async fn epoch(&self) -> Result<Arc<str>, StoreError> {
        loop {
            if let Some(epoch) = self.journal.get(EPOCH_KEY).await?
                && let Ok(epoch) = std::str::from_utf8(&epoch)
            {
                return Ok(epoch.into());
            }
            let epoch = crate::log::epoch::fresh();
            // Retried if another node stored one first, or the store lost it.
            if self.journal.swap(EPOCH_KEY, None, Some(Bytes::copy_from_slice(epoch.as_bytes()))).await? {
                return Ok(epoch);
            }
        }
    }

    /// Stores and returns a new epoch for new logs.
    pub(crate) async fn new_epoch(&self) -> Result<Arc<str>, StoreError> {
        let epoch = crate::log::epoch::fresh();
        let value = Bytes::copy_from_slice(epoch.as_bytes());
        self.journal.put(vec![(EPOCH_KEY.to_owned(), Some(value))]).await?;
        Ok(epoch)
    }

    /// Returns the secret that signs the tokens of anonymous users, and creates it if the store has none.
    pub(crate) async fn secret(&self) -> Result<[u8; 64], StoreError> {
        loop {
            let permanent = self.journal.get(SECRET_KEY).await?;
            if let Some(secret) = permanent.as_deref().and_then(|secret| <[u8; 64]>::try_from(secret).ok()) {
                return Ok(secret);
            }
            let secret = crate::identity::random::<64>();
            // Retried if another node stored one first.
            if self.journal.swap(SECRET_KEY, permanent, Some(Bytes::copy_from_slice(&secret))).await? {
                return Ok(secret);
            }
        }
    }

    /// Counts the rooms again if the last count is older than [`RECOUNT_INTERVAL`], since other nodes create and remove
    /// rooms.
    pub(crate) async fn recount(&self) -> Result<(), StoreError> {
        let due = {
            let mut counted = self.counted.lock();
            let due = counted.is_none_or(|counted| counted.elapsed() >= RECOUNT_INTERVAL);
            if due {
                *counted = Some(Instant::now());
            }
            due
        };
        if due { self.count().await } else { Ok(()) }
    }

    /// Counts the rooms in the catalog.
    pub(crate) async fn count(&self) -> Result<(), StoreError> {
        let (mut total, mut permanent, mut last) = (0, 0, None::<String>);
        loop {
            let page = self.journal.scan(ROOM_PREFIX, last.as_deref(), SCAN_PAGE_RECORDS).await?;
            total += page.len();
            permanent += page
                .iter()
                .filter_map(|(_, value)| info(value))
                .filter(RoomInstanceInfo::is_permanent)
                .count();
            let Some((key, _)) = page.last() else { break };
            last = Some(key.clone());
        }
        self.total_rooms.store(total, Ordering::Relaxed);
        self.permanent_rooms.store(permanent, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the number of rooms in the catalog.
    pub(crate) fn total_rooms(&self) -> usize {
        self.total_rooms.load(Ordering::Relaxed)
    }

    /// Returns the number of rooms that were created explicitly, and aren't an anonymous user's.
    pub(crate) fn permanent_rooms(&self) -> usize {
        self.permanent_rooms.load(Ordering::Relaxed)
    }

    /// Returns the number of rooms that a user created, up to `most`.
    pub(crate) async fn created_by(&self, user: &str, most: usize) -> Result<usize, StoreError> {
        Ok(self.journal.scan(&creator(user), None, most).await?.len())
    }

    /// Returns the info of a room; `None` if the catalog doesn't have it.
    pub(crate) async fn known(&self, room_id: &str) -> Result<Option<RoomInstanceInfo>, StoreError> {
        Ok(self.journal.get(&room(room_id)).await?.as_deref().and_then(info))
    }

    /// Returns up to `limit` rooms after `after`, in the order of their ids' bytes, and the id to go on after if there
    /// may be more.
    pub(crate) async fn rooms(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(Arc<str>, RoomInstanceInfo)>, Option<Arc<str>>), StoreError> {
        let found = self.journal.scan(ROOM_PREFIX, after.map(room).as_deref(), limit).await?;
        let last = found.last().and_then(|(key, _)| key.strip_prefix(ROOM_PREFIX)).map(Arc::from);
        let next = last.filter(|_| found.len() == limit);
        let rooms = found
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(ROOM_PREFIX)?.into(), info(&value)?)));
        Ok((rooms.collect(), next))
    }

    /// Adds a room to the catalog; returns `false` if another node added it first.
    pub(crate) async fn add_room(&self, room_id: &str, info: &RoomInstanceInfo) -> Result<bool, StoreError> {
        let entry = RoomRecord {
            name: info.name.as_deref().map(Cow::from),
            description: info.description.as_deref().map(Cow::from),
            max_size: info.max_size,
            created_by: info.created_by.as_deref().map(Cow::from),
            created: info.created,
        };
        let value =
            serde_json::to_vec(&entry).map_err(|error| StoreError::new("can't encode").with_source(error))?;
        if self.cluster.is_some()
            && !self.journal.swap(&room(room_id), None, Some(value.clone().into())).await?
        {
            return Ok(false);
        }
        let mut records = vec![(room(room_id), Some(value.into())), self.used_now(room_id)];
        if let Some(user) = &info.created_by {
            records.push((creator(user) + room_id, Some(Bytes::new())));
        }
        self.journal.put(records).await?;
        self.total_rooms.fetch_add(1, Ordering::Relaxed);
        self.permanent_rooms.fetch_add(usize::from(info.is_permanent()), Ordering::Relaxed);
        Ok(true)
    }

    /// Removes a room and its log. `counted` tells whether the room counts in [`total_rooms`](Self::total_rooms).
    pub(crate) async fn remove_room(
        &self,
        room_id: &str,
        info: &RoomInstanceInfo,
        counted: bool,
    ) -> Result<(), StoreError> {
        self.journal.remove(room_id).await?;
        let mut records =
            [room(room_id), state_key(room_id), epoch_override_key(room_id), last_used_key(room_id)]
                .map(|key| (key, None))
                .to_vec();
        if let Some(user) = &info.created_by {
            records.push((creator(user) + room_id, None));
        }
        self.forget_use(room_id);
        match self.journal.put(records).await {
            Ok(()) if counted => {
                let fewer = |total: usize| Some(total.saturating_sub(1));
                if info.is_permanent() {
                    let _ = self.permanent_rooms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
                }
                // The update can't fail: it always has a result.
                let _ = self.total_rooms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
            }
            Ok(()) => {}
            // The log is removed, and with it the room: what is left is an entry in the list.
            Err(error) => tracing::error!(room_id, %error, "the record of a deleted room can't be removed"),
        }
        Ok(())
    }
}

fn room(room_id: &str) -> String {
    format!("{ROOM_PREFIX}{room_id}")
}

/// The key has the user's hash, since ids may be long and contain the separator.
fn creator(user: &str) -> String {
    format!("creator/{}/", URL_SAFE_NO_PAD.encode(Sha256::digest(user)))
}

fn info(value: &[u8]) -> Option<RoomInstanceInfo> {
    let entry: RoomRecord<'_> = serde_json::from_slice(value)
        .inspect_err(|error| tracing::error!(%error, "the record of a room can't be read"))
        .ok()?;
    Some(RoomInstanceInfo {
        name: entry.name.map(Cow::into_owned),
        description: entry.description.map(Cow::into_owned),
        max_size: entry.max_size,
        created_by: entry.created_by.as_deref().map(Arc::from),
        created: entry.created,
        ..RoomInstanceInfo::default()
    })
}
