//! Pages of the past: read once, however many come back at once.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::Archive;
use crate::{
    hub::RoomDecl,
    log::Record,
    store::{Order, Query, StoreError},
    wire::Id,
};

/// Some events that only the store has, in their order.
#[derive(Debug)]
pub(crate) struct OldPage {
    pub(crate) records: Vec<Arc<Record>>,
    /// The number of the first event that the store had here, whether or not it is still declared.
    pub(crate) first: u64,
    /// The number of the last.
    pub(crate) through: u64,
    bytes: usize,
    /// Whether nothing will ever be added to it.
    complete: bool,
    /// The ids of all events, those that are no longer declared too.
    ids: Vec<Id>,
}

impl OldPage {
    /// The id of event `seq`, if it is in it.
    pub(crate) fn id_of(&self, seq: u64) -> Option<Id> {
        self.ids.get(usize::try_from(seq.checked_sub(self.first)?).ok()?).copied()
    }
}

/// Pages by their room, its epoch and the number that they begin after. What was accepted never changes, so that a page
/// is right for as long as it is kept.
#[derive(Default)]
pub(super) struct Pages {
    kept: Mutex<Kept>,
}

type Place = (Arc<str>, Arc<str>, u64);

#[derive(Default)]
struct Kept {
    pages: HashMap<Place, Arc<OnceCell<Arc<OldPage>>>>,
    /// Those that were read, oldest first, and their bytes.
    order: VecDeque<(Place, usize)>,
    bytes: usize,
}

/// Events of a page: all begin after a multiple of it, so that those who come back from different places share them.
const LENGTH: u64 = 256;
/// Bytes of payloads in a page that is large.
const LARGE: usize = 128 << 10;
/// Bytes of all pages.
const MOST: usize = 32 << 20;

impl Archive {
    /// The page that goes on after `seq`; `None` where nothing is.
    pub(crate) async fn after(
        &self,
        room: &RoomDecl,
        room_id: &Arc<str>,
        epoch: &Arc<str>,
        seq: u64,
    ) -> Result<Option<Arc<OldPage>>, StoreError> {
        let mut from = seq - seq % LENGTH;
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

    async fn page(&self, room: &RoomDecl, place: Place) -> Result<Arc<OldPage>, StoreError> {
        let cell = Arc::clone(self.pages.kept.lock().pages.entry(place.clone()).or_default());
        let mut new = false;
        let page = cell
            .get_or_try_init(|| {
                new = true;
                self.read_page(room, &place)
            })
            .await;
        let mut kept = self.pages.kept.lock();
        match page {
            Ok(page) if new && page.complete => kept.keep(place, page.bytes),
            Ok(page) if page.complete => {}
            // The next one reads it anew.
            _ => kept.give_up(&place, &cell),
        }
        page.cloned()
    }

    async fn read_page(
        &self,
        room: &RoomDecl,
        (room_id, _, from): &Place,
    ) -> Result<Arc<OldPage>, StoreError> {
        let end = from - from % LENGTH + LENGTH;
        let mut query = Query::new(Order::OldestFirst, usize::try_from(LENGTH).unwrap_or(usize::MAX));
        (query.after, query.before, query.max_bytes) = (Some(*from), Some(end + 1), LARGE);
        let _permit = self.replaying.acquire().await;
        let page = self.journal.read(room_id, query).await?;
        let through = page.events.last().map_or(*from, |last| last.seq);
        let first = page.events.first().map_or(through + 1, |first| first.seq);
        let records: Vec<_> =
            page.events.iter().map(|stored| Arc::new(room.record(room_id, stored))).collect();
        let ids: Vec<_> = page.events.iter().map(|stored| stored.event_id).collect();
        let bytes = records.iter().map(|record| record.json.len() + size_of::<Record>()).sum::<usize>();
        let bytes = bytes + (ids.len() + 1) * size_of::<[Id; 8]>();
        let complete = through == end || page.next.is_some();
        Ok(Arc::new(OldPage { records, first, through, bytes, complete, ids }))
    }
}

impl Kept {
    fn keep(&mut self, place: Place, bytes: usize) {
        self.bytes += bytes;
        self.order.push_back((place, bytes));
        while self.bytes > MOST {
            let Some((oldest, bytes)) = self.order.pop_front() else { return };
            self.bytes -= bytes;
            self.pages.remove(&oldest);
        }
    }

    fn give_up(&mut self, place: &Place, cell: &Arc<OnceCell<Arc<OldPage>>>) {
        if self.pages.get(place).is_some_and(|other| Arc::ptr_eq(other, cell)) {
            self.pages.remove(place);
        }
    }
}
