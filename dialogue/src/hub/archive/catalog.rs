//! Which rooms there are, those that aren't in memory too.
//!
//! `room/ID` says what is known of a room, and `creator/USER/ID` that the user created it.

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
    open::{generation_of, state_of},
    space::key as left_of,
};
use crate::{hub::declared::Info, store::StoreError};

/// What stands in the record of a room.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_size: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_by: Option<Cow<'a, str>>,
    /// Made on purpose, not by a first join.
    #[serde(default)]
    created: bool,
}

const ROOMS: &str = "room/";
const EPOCH: &str = "server/epoch";
const SECRET: &str = "server/secret";
/// Between two counts of all rooms.
const RECOUNT: Duration = Duration::from_secs(10);
/// Records of a page while they are counted.
const PAGE: usize = 1_000;

impl Archive {
    /// What new logs are called, as it was last said; it outlives the process, so that who comes back to a room in which
    /// nothing was said yet finds it as it was.
    pub(crate) async fn epoch(&self) -> Result<Arc<str>, StoreError> {
        loop {
            if let Some(epoch) = self.journal.get(EPOCH).await?
                && let Ok(epoch) = std::str::from_utf8(&epoch)
            {
                return Ok(epoch.into());
            }
            let epoch = crate::log::epoch::fresh();
            // Unless another instance says so first, or a store forgot it.
            if self.journal.swap(EPOCH, None, Some(Bytes::copy_from_slice(epoch.as_bytes()))).await? {
                return Ok(epoch);
            }
        }
    }

    /// Says what logs are called from now on.
    pub(crate) async fn new_epoch(&self) -> Result<Arc<str>, StoreError> {
        let epoch = crate::log::epoch::fresh();
        let value = Bytes::copy_from_slice(epoch.as_bytes());
        self.journal.put(vec![(EPOCH.to_owned(), Some(value))]).await?;
        Ok(epoch)
    }

    /// What signs the tokens of anonymous users, as long as the store keeps it.
    pub(crate) async fn secret(&self) -> Result<[u8; 64], StoreError> {
        loop {
            let kept = self.journal.get(SECRET).await?;
            if let Some(secret) = kept.as_deref().and_then(|secret| <[u8; 64]>::try_from(secret).ok()) {
                return Ok(secret);
            }
            let secret = crate::identity::random::<64>();
            // Unless another instance made one first.
            if self.journal.swap(SECRET, kept, Some(Bytes::copy_from_slice(&secret))).await? {
                return Ok(secret);
            }
        }
    }

    /// Counts the rooms again, since other instances make and forget some; now and then at most.
    pub(crate) async fn recount(&self) -> Result<(), StoreError> {
        let due = {
            let mut counted = self.counted.lock();
            let due = counted.is_none_or(|counted| counted.elapsed() >= RECOUNT);
            if due {
                *counted = Some(Instant::now());
            }
            due
        };
        if due { self.count().await } else { Ok(()) }
    }

    /// Counts the rooms.
    pub(crate) async fn count(&self) -> Result<(), StoreError> {
        let (mut total, mut kept, mut last) = (0, 0, None::<String>);
        loop {
            let page = self.journal.scan(ROOMS, last.as_deref(), PAGE).await?;
            total += page.len();
            kept += page.iter().filter_map(|(_, value)| info(value)).filter(Info::is_kept).count();
            let Some((key, _)) = page.last() else { break };
            last = Some(key.clone());
        }
        self.total.store(total, Ordering::Relaxed);
        self.kept.store(kept, Ordering::Relaxed);
        Ok(())
    }

    /// How many rooms are known of.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// How many of those were made on purpose.
    pub(crate) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// How many rooms a user created, up to `most`.
    pub(crate) async fn created_by(&self, user: &str, most: usize) -> Result<usize, StoreError> {
        Ok(self.journal.scan(&creator(user), None, most).await?.len())
    }

    /// What is known of a room.
    pub(crate) async fn known(&self, room_id: &str) -> Result<Option<Info>, StoreError> {
        Ok(self.journal.get(&room(room_id)).await?.as_deref().and_then(info))
    }

    /// Some of the rooms after `after`, in the order of their ids' bytes; and where to go on, if there may be more.
    pub(crate) async fn rooms(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(Arc<str>, Info)>, Option<Arc<str>>), StoreError> {
        let found = self.journal.scan(ROOMS, after.map(room).as_deref(), limit).await?;
        let last = found.last().and_then(|(key, _)| key.strip_prefix(ROOMS)).map(Arc::from);
        let next = last.filter(|_| found.len() == limit);
        let rooms = found
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(ROOMS)?.into(), info(&value)?)));
        Ok((rooms.collect(), next))
    }

    /// Remembers a room that wasn't known of; yields whether it wasn't.
    pub(crate) async fn remember(&self, room_id: &str, info: &Info) -> Result<bool, StoreError> {
        let entry = Entry {
            name: info.name.as_deref().map(Cow::from),
            description: info.description.as_deref().map(Cow::from),
            max_size: info.max_size,
            created_by: info.created_by.as_deref().map(Cow::from),
            created: info.created,
        };
        let value =
            serde_json::to_vec(&entry).map_err(|error| StoreError::new("can't encode").with_source(error))?;
        if self.peers.is_some()
            && !self.journal.swap(&room(room_id), None, Some(value.clone().into())).await?
        {
            return Ok(false);
        }
        let mut records = vec![(room(room_id), Some(value.into())), self.used_now(room_id)];
        if let Some(user) = &info.created_by {
            records.push((creator(user) + room_id, Some(Bytes::new())));
        }
        self.journal.put(records).await?;
        self.total.fetch_add(1, Ordering::Relaxed);
        self.kept.fetch_add(usize::from(info.is_kept()), Ordering::Relaxed);
        Ok(true)
    }

    /// Forgets a room and its log, and whether it is one that was `counted`.
    pub(crate) async fn forget(&self, room_id: &str, info: &Info, counted: bool) -> Result<(), StoreError> {
        self.journal.remove(room_id).await?;
        let mut records = [room(room_id), state_of(room_id), generation_of(room_id), left_of(room_id)]
            .map(|key| (key, None))
            .to_vec();
        if let Some(user) = &info.created_by {
            records.push((creator(user) + room_id, None));
        }
        self.unnote_left(room_id);
        match self.journal.put(records).await {
            Ok(()) if counted => {
                let fewer = |total: usize| Some(total.saturating_sub(1));
                if info.is_kept() {
                    let _ = self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
                }
                // It can't fail: there always is a number that is less or none.
                let _ = self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
            }
            Ok(()) => {}
            // Its log is gone, and with it the room: what is left is a name in a list.
            Err(error) => tracing::error!(room_id, %error, "the record of a deleted room can't be removed"),
        }
        Ok(())
    }
}

fn room(room_id: &str) -> String {
    format!("{ROOMS}{room_id}")
}

/// By the user's hash, since ids may be long, and hold what separates.
fn creator(user: &str) -> String {
    format!("creator/{}/", URL_SAFE_NO_PAD.encode(Sha256::digest(user)))
}

fn info(value: &[u8]) -> Option<Info> {
    let entry: Entry<'_> = serde_json::from_slice(value)
        .inspect_err(|error| tracing::error!(%error, "the record of a room can't be read"))
        .ok()?;
    Some(Info {
        name: entry.name.map(Cow::into_owned),
        description: entry.description.map(Cow::into_owned),
        max_size: entry.max_size,
        created_by: entry.created_by.as_deref().map(Arc::from),
        created: entry.created,
        ..Info::default()
    })
}
