//! Which rooms there are, those that aren't in memory too.
//!
//! `room/ID` says what is known of a room, and `creator/USER/ID` that the user created it: text in which what isn't plain
//! is percent-encoded.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::Archive;
use crate::{hub::instance::Info, store::StoreError};

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
/// Records of a page while they are counted.
const PAGE: usize = 1_000;

impl Archive {
    /// What new logs are called, as it was last said; it outlives the process, so that who comes back to a room in which
    /// nothing was said yet finds it as it was.
    pub(crate) async fn epoch(&self) -> Result<Arc<str>, StoreError> {
        if let Some(epoch) = self.journal.get(EPOCH).await?
            && let Ok(epoch) = std::str::from_utf8(&epoch)
        {
            return Ok(epoch.into());
        }
        self.new_epoch().await
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
        if let Some(secret) = self.journal.get(SECRET).await?
            && let Ok(secret) = <[u8; 64]>::try_from(&*secret)
        {
            return Ok(secret);
        }
        let secret = crate::identity::random::<64>();
        self.journal.put(vec![(SECRET.to_owned(), Some(Bytes::copy_from_slice(&secret)))]).await?;
        Ok(secret)
    }

    /// Counts the rooms, once.
    pub(crate) async fn count(&self) -> Result<(), StoreError> {
        let (mut total, mut last) = (0, None::<String>);
        loop {
            let page = self.journal.scan(ROOMS, last.as_deref(), PAGE).await?;
            total += page.len();
            let Some((key, _)) = page.last() else { break };
            last = Some(key.clone());
        }
        self.total.store(total, Ordering::Relaxed);
        Ok(())
    }

    /// How many rooms are known of.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// How many rooms a user created, up to `most`.
    pub(crate) async fn created_by(&self, user: &str, most: usize) -> Result<usize, StoreError> {
        Ok(self.journal.scan(&creator(user), None, most).await?.len())
    }

    /// What is known of a room.
    pub(crate) async fn known(&self, room_id: &str) -> Result<Option<Info>, StoreError> {
        Ok(self.journal.get(&room(room_id)).await?.as_deref().and_then(info))
    }

    /// Some of the rooms after `after`, in the order of their ids' bytes.
    pub(crate) async fn rooms(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(Arc<str>, Info)>, StoreError> {
        let found = self.journal.scan(ROOMS, after.map(room).as_deref(), limit).await?;
        let rooms = found
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(ROOMS)?.into(), info(&value)?)));
        Ok(rooms.collect())
    }

    /// Remembers a room that wasn't known of.
    pub(crate) async fn remember(&self, room_id: &str, info: &Info) -> Result<(), StoreError> {
        let entry = Entry {
            name: info.name.as_deref().map(Cow::from),
            description: info.description.as_deref().map(Cow::from),
            max_size: info.max_size,
            created_by: info.created_by.as_deref().map(Cow::from),
            created: info.created,
        };
        let value =
            serde_json::to_vec(&entry).map_err(|error| StoreError::new("can't encode").source(error))?;
        let mut records = vec![(room(room_id), Some(value.into()))];
        if let Some(user) = &info.created_by {
            records.push((creator(user) + room_id, Some(Bytes::new())));
        }
        self.journal.put(records).await?;
        self.total.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets a room and its log. What is made in its place is called otherwise.
    pub(crate) async fn forget(&self, room_id: &str, info: &Info) -> Result<(), StoreError> {
        self.journal.remove(room_id).await?;
        let mut records = vec![(room(room_id), None), (super::open::state_of(room_id), None)];
        if let Some(user) = &info.created_by {
            records.push((creator(user) + room_id, None));
        }
        self.journal.put(records).await?;
        let fewer = |total: usize| Some(total.saturating_sub(1));
        // It can't fail: there always is a number that is less or none.
        let _ = self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        Ok(())
    }
}

fn room(room_id: &str) -> String {
    format!("{ROOMS}{room_id}")
}

fn creator(user: &str) -> String {
    format!("creator/{}/", utf8_percent_encode(user, NON_ALPHANUMERIC))
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
    })
}
