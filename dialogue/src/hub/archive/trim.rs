//! Trimming what the store has of a room, apart from whoever triggers.

use std::{sync::Arc, time::Duration};

use super::Archive;
use crate::{
    Retention,
    log::KEPT_MS,
    store::{Order, Query, StoreError, StoredEvent, Trim},
};

/// What is to be trimmed of a room.
#[derive(Debug, Clone)]
pub(crate) struct Trimming {
    pub(crate) room_id: Arc<str>,
    /// What its log is called there.
    pub(crate) epoch: Arc<str>,
    pub(crate) retention: Retention,
    /// The oldest event that is held, as far as memory knows, and the newest.
    pub(crate) first: u64,
    pub(crate) head: u64,
    /// Bytes of all events that there ever were.
    pub(crate) end: u64,
    /// Whether what is older than that goes by its bytes or its age, which the store has to be asked for.
    pub(crate) unsure: bool,
}

impl Archive {
    /// Trims it; yields the number of the oldest event that is held now.
    pub(crate) async fn trim(&self, trimming: &Trimming, now: u64) -> Result<u64, StoreError> {
        let Trimming { room_id, epoch, retention, first, head, .. } = trimming;
        let mut first = *first;
        if trimming.unsure {
            let oldest = retention.age.map_or(0, |age| now.saturating_sub(millis(age)));
            let (_, bytes) = retention.bounds();
            let from = trimming.end.saturating_sub(bytes);
            // Both grow with the number, so that what is kept begins at one place.
            first = self
                .first_where(room_id, first, *head, |event| event.timestamp >= oldest && event.offset >= from)
                .await?;
        }
        let trim = Trim::new(Arc::clone(epoch), first, now.saturating_sub(KEPT_MS));
        self.journal.trim(room_id, trim).await?;
        Ok(first)
    }

    /// The first number from `low` to `high` whose event is `kept`, or the one after; asks for a few events, whatever the
    /// log's length.
    async fn first_where(
        &self,
        room_id: &str,
        mut low: u64,
        high: u64,
        kept: impl Fn(&StoredEvent) -> bool,
    ) -> Result<u64, StoreError> {
        let mut high = high + 1;
        while low < high {
            let middle = low + (high - low) / 2;
            let mut query = Query::new(Order::OldestFirst, 1);
            (query.after, query.before) = (Some(middle - 1), Some(high));
            match self.journal.read(room_id, query).await?.events.first() {
                Some(event) if !kept(event) => low = event.seq + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
