//! Pages of old events for replays, read from the store through the [`PageCache`](super::page_cache::PageCache).

use std::sync::Arc;

use super::{Archive, page_cache::PageKey};
use crate::{
    live::{RoomSpec, room::ArchivedPage},
    log::Record,
    store::{Order, Query, StoreError},
    wire::Id,
};

/// Events of a page. All pages begin after a multiple of it, so that clients that come back to different positions
/// share them.
const PAGE_EVENTS: u64 = 256;
/// Bytes of payloads after which a page ends early.
const MAX_PAGE_BYTES: usize = 128 << 10;

impl Archive {
    /// Returns the page with the events after `seq`; `None` if there are none.
    pub(crate) async fn after(
        &self,
        room: &RoomSpec,
        room_id: &Arc<str>,
        epoch: &Arc<str>,
        seq: u64,
    ) -> Result<Option<Arc<ArchivedPage>>, StoreError> {
        let mut from = seq - seq % PAGE_EVENTS;
        loop {
            let page = self.page(room, (Arc::clone(room_id), Arc::clone(epoch), from)).await?;
            if page.through > seq {
                return Ok(Some(page));
            }
            if page.through <= from {
                return Ok(None);
            }
            from = page.through;
        }
    }

    async fn page(&self, room: &RoomSpec, key: PageKey) -> Result<Arc<ArchivedPage>, StoreError> {
        let cell = self.pages.lock().cell(&key);
        let mut new = false;
        let page = cell
            .get_or_try_init(|| {
                new = true;
                self.read_page(room, &key)
            })
            .await;
        let mut cached = self.pages.lock();
        match page {
            Ok(page) if new && page.complete => cached.insert(key, page.bytes),
            Ok(page) if page.complete => {}
            // A page that may grow, or wasn't read, isn't cached.
            _ => cached.discard(&key, &cell),
        }
        page.cloned()
    }

    async fn read_page(
        &self,
        room: &RoomSpec,
        (room_id, _, from): &PageKey,
    ) -> Result<Arc<ArchivedPage>, StoreError> {
        let end = from - from % PAGE_EVENTS + PAGE_EVENTS;
        let mut query = Query::new(Order::OldestFirst, usize::try_from(PAGE_EVENTS).unwrap_or(usize::MAX));
        (query.after, query.before, query.max_bytes) = (Some(*from), Some(end + 1), MAX_PAGE_BYTES);
        let _permit = self.replay_reads.acquire().await;
        let page = self.journal.read(room_id, query).await?;
        let through = page.events.last().map_or(*from, |last| last.seq);
        let first = page.events.first().map_or(through + 1, |first| first.seq);
        let records: Vec<_> =
            page.events.iter().map(|stored| Arc::new(room.record(room_id, stored))).collect();
        let ids: Vec<_> = page.events.iter().map(|stored| stored.event_id).collect();
        let bytes = records.iter().map(|record| record.json.len() + size_of::<Record>()).sum::<usize>();
        let bytes = bytes + (ids.len() + 1) * size_of::<[Id; 8]>();
        let complete = through == end || page.next.is_some();
        Ok(Arc::new(ArchivedPage { records, first, through, bytes, complete, ids }))
    }
}
