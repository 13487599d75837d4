//! Trimming the store's part of a log to the room's retention, in the background.

use std::{sync::Arc, time::Duration};

use super::Archive;
use crate::{
    live::room::TrimPlan,
    log::{KEY_RETENTION_MS, RetentionBounds},
    store::{Order, Query, StoreError, StoredEvent, Trim},
};

impl Archive {
    /// Trims the store's part of a log; returns the number of the oldest event that is retained now.
    pub(crate) async fn trim(&self, trim_plan: &TrimPlan, now: u64) -> Result<u64, StoreError> {
        let TrimPlan { room_id, epoch, retention, first, head, .. } = trim_plan;
        let mut first = *first;
        if trim_plan.needs_store_lookup {
            let oldest = retention.age.map_or(0, |age| now.saturating_sub(millis(age)));
            let from = trim_plan.end.saturating_sub(RetentionBounds::from(retention).bytes);
            // Time and offset grow with `seq`, so that the retained events are found with a binary search.
            first = self
                .first_where(room_id, first, *head, |event| event.timestamp >= oldest && event.offset >= from)
                .await?;
        }
        let trim = Trim::new(Arc::clone(epoch), first, now.saturating_sub(KEY_RETENTION_MS));
        self.journal.trim(room_id, trim).await?;
        Ok(first)
    }

    /// Returns the first `seq` from `low` to `high` whose event is `kept`, or the one after `high`. Reads a logarithmic
    /// number of events.
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
