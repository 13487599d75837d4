//! A fan-out's cursor over the devices of one provider: reads them from the device registry page by page, and records
//! how far the first attempts are finished.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    device_registry::{DevicePage, DeviceRegistry, RoomRegistration},
    fanout::Fanout,
    job::PushJob,
};
use crate::store::StoreError;

/// A fan-out and its position in the devices of one provider.
pub(super) struct DeviceCursor {
    fanout: Arc<Fanout>,
    _permit: QueuePermit,
    page: VecDeque<RoomRegistration>,
    next_page: NextPage,
    /// The pages with first attempts that are not finished, in their order.
    open_pages: VecDeque<OpenPage>,
    /// The guard of the page that is being read.
    current: Option<Arc<PageGuard>>,
}

/// An event's share of the memory of new events. It is free again once all workers have begun all first attempts.
pub(super) type QueuePermit = Arc<Option<OwnedSemaphorePermit>>;

/// Held by each first attempt of a page: once all are dropped, the page is finished.
#[derive(Debug)]
pub(super) struct PageGuard;

struct OpenPage {
    guard: Weak<PageGuard>,
    last_key: String,
}

enum NextPage {
    /// Begins behind a key, or at the first device.
    After(Option<String>),
    /// There is none.
    End,
}

/// Devices that are read from the store at a time.
const PAGE_DEVICES: usize = 256;
/// A key that sorts behind the keys of all devices of all rooms.
const END_KEY: &str = "push/room/~";

impl DeviceCursor {
    /// Returns a cursor that begins behind the key `after`, or at the first device.
    pub(super) fn new(fanout: Arc<Fanout>, after: Option<String>, permit: QueuePermit) -> Self {
        DeviceCursor {
            fanout,
            _permit: permit,
            page: VecDeque::new(),
            next_page: NextPage::After(after),
            open_pages: VecDeque::new(),
            current: None,
        }
    }

    /// Returns whether the fan-out is superseded; if so, drops the rest of its devices.
    pub(super) fn is_superseded(&mut self) -> bool {
        let is_superseded = self.fanout.is_superseded();
        if is_superseded {
            self.page.clear();
            (self.next_page, self.current) = (NextPage::End, None);
        }
        is_superseded
    }

    /// Returns the job of the next device and the guard of its page; `None` behind the last.
    ///
    /// # Errors
    ///
    /// The next page can't be read. The cursor stays where it is.
    pub(super) async fn next(
        &mut self,
        devices: &DeviceRegistry,
        provider: &str,
    ) -> Result<Option<(PushJob, Arc<PageGuard>)>, StoreError> {
        while self.page.is_empty() {
            let NextPage::After(after) = &self.next_page else {
                self.current = None;
                return Ok(None);
            };
            let DevicePage { registrations, next } =
                devices.page_of_room(&self.fanout.room_id, provider, after.as_deref(), PAGE_DEVICES).await?;
            let guard = Arc::new(PageGuard);
            let last_key = next.clone().unwrap_or_else(|| END_KEY.to_owned());
            self.open_pages.push_back(OpenPage { guard: Arc::downgrade(&guard), last_key });
            self.current = Some(guard);
            let page =
                registrations.into_iter().filter(|registration| !self.fanout.skips(&registration.id.device));
            self.page = page.collect();
            self.next_page = next.map_or(NextPage::End, |key| NextPage::After(Some(key)));
        }
        let (Some(registration), Some(guard)) = (self.page.pop_front(), &self.current) else {
            return Ok(None);
        };
        let fanout = Arc::clone(&self.fanout);
        Ok(Some((PushJob::new(fanout, registration), Arc::clone(guard))))
    }

    /// Notes in the fan-out up to which device all first attempts are finished; returns whether all are.
    pub(super) fn report(&mut self, provider: &'static str) -> bool {
        let mut finished = None;
        while let Some(page) = self.open_pages.front()
            && page.guard.strong_count() == 0
        {
            finished = self.open_pages.pop_front();
        }
        if let Some(OpenPage { last_key, .. }) = finished {
            self.fanout.set_progress(provider, last_key);
        }
        self.open_pages.is_empty()
    }
}
