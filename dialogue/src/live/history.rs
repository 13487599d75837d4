//! Reading a room's history, from memory and from the store for older events.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant as Moment, timeout};

use super::{LiveRoom, archive::Archive, command::RoomRead};
use crate::{
    Code, Refusal,
    log::{LogPage, PAGE_BYTES, RecordPage},
    store::{Order, Query, StoreError},
    wire::EventSet,
};

/// The time that a request waits for its turn to read, and that server code searches for rare events.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

impl LiveRoom {
    /// Returns up to `limit` events before `before`, newest first. A page may have fewer events, even none, although
    /// there are more: the number of events scanned for it is bounded.
    pub(crate) async fn history(
        self: &Arc<Self>,
        before: Option<u64>,
        filter: EventSet,
        limit: usize,
    ) -> Result<LogPage, Refusal> {
        if !filter.meets(self.room.numbered()) {
            return Ok(LogPage::default());
        }
        let page = self.ask(|reply| RoomRead::History { before, filter, limit, reply });
        let mut page = page.await?;
        if let Some(rest) = page.rest.take() {
            let size: usize = page.records.iter().map(|record| record.json.len()).sum();
            let mut query = Query::new(Order::NewestFirst, limit - page.records.len());
            query.before = Some(rest);
            query.max_bytes = usize::try_from(PAGE_BYTES).unwrap_or(usize::MAX).saturating_sub(size);
            if query.max_bytes > 0 {
                let rest = self.read(query, filter).await?;
                page.records.extend(rest.records);
                page.next = rest.next;
            }
        }
        Ok(page)
    }

    /// Returns the events in `filter` that `query` selects, and the `seq` to go on from if there may be more. The page
    /// may be empty even then, since the number of events scanned is bounded.
    pub(crate) async fn read(
        self: &Arc<Self>,
        mut query: Query,
        filter: EventSet,
    ) -> Result<RecordPage, Refusal> {
        if !filter.meets(self.room.numbered()) {
            return Ok(RecordPage::default());
        }
        query.events = self.room.names_of(filter);
        let Some(archive) = self.archive() else {
            return self.ask(|reply| RoomRead::Select(Box::new(query), reply)).await;
        };
        let first = self.ask(|reply| RoomRead::FirstSeq(filter, reply)).await?;
        query.after = query.after.max(first.checked_sub(1));
        // A fair semaphore: a slow store isn't read by all requests at once.
        let permit = timeout(READ_TIMEOUT, archive.read_permit()).await.map_err(|_| self.unreadable())?;
        let mut page = self.read_stored(archive, &query).await.map_err(|error| {
            tracing::debug!(room_id = &*self.id, %error, "the history of a room can't be read");
            self.unreadable()
        })?;
        // Released before the room is awaited, which may be busy.
        drop(permit);
        if !page.records.is_empty() {
            let records = page.records;
            page.records = self.ask(|reply| RoomRead::Retained(records, filter, reply)).await?;
        }
        Ok(page)
    }

    /// Reads as [`read`](Self::read) does, for server code: it reads on through empty pages, for 10 s at most.
    pub(crate) async fn find(
        self: &Arc<Self>,
        mut query: Query,
        filter: EventSet,
    ) -> Result<RecordPage, Refusal> {
        let until = Moment::now() + READ_TIMEOUT;
        loop {
            let page = self.read(query.clone(), filter).await?;
            if !page.records.is_empty() || page.next.is_none() || Moment::now() >= until {
                return Ok(page);
            }
            match query.order {
                Order::OldestFirst => query.after = page.next,
                Order::NewestFirst => query.before = page.next,
            }
        }
    }

    fn unreadable(&self) -> Refusal {
        Refusal::new(Code::Unavailable, "the room's history can't be read now; try again")
    }

    async fn read_stored(&self, archive: &Archive, query: &Query) -> Result<RecordPage, StoreError> {
        let page = archive.journal.read(&self.id, query.clone()).await?;
        let records = page.events.iter().map(|stored| self.room.record(&self.id, stored));
        Ok(RecordPage { records: records.map(Arc::new).collect(), next: page.next })
    }
}
