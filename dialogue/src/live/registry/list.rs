//! The list of rooms, in memory or not.

use std::{collections::BTreeMap, sync::Arc};

use super::{ROOMS_PER_PAGE, Registry};
use crate::{
    Code, Refusal,
    hooks::RoomRef,
    live::{LiveRoom, RoomSpec, room::unavailable, room_spec::RoomInstanceInfo},
    wire::frame,
};

/// Bytes of a page of the list of rooms: a reply has to fit into a connection's outbox.
const MAX_LIST_BYTES: usize = 256 << 10;

/// Rooms that one page of a list scans at most: those that the caller may not see cost as much as others.
pub(in crate::live) const MAX_LISTED_SCANS: usize = 2_048;

/// A page of the list of rooms.
#[derive(Debug, Default)]
pub(crate) struct RoomListPage {
    pub(crate) rooms: Vec<frame::RoomInfo>,
    pub(crate) more: bool,
    /// The last room that was scanned, if the page ends for that reason; the caller may not be allowed to see it.
    pub(crate) scanned_to: Option<Arc<str>>,
}

/// A room that exists.
enum KnownRoom {
    Live(Arc<LiveRoom>),
    /// A room that is only in the store.
    Stored(RoomInstanceInfo),
}

impl Registry {
    /// Returns rooms after `after`, in memory or not, in the order of their ids. At most [`MAX_LISTED_SCANS`] are
    /// scanned, however few of them are visible.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't be read.
    pub(crate) async fn list(
        &self,
        after: Option<&str>,
        mut visible: impl FnMut(RoomRef<'_>, &RoomSpec) -> bool,
        limit: usize,
    ) -> Result<RoomListPage, Refusal> {
        let (mut rooms, mut size, mut scanned) = (Vec::new(), 0, 0);
        let mut last: Option<Arc<str>> = after.map(Arc::from);
        loop {
            // Outside of the lock: the application's `visible` may look rooms up itself.
            let page = self.known_after(last.as_deref()).await?;
            if page.is_empty() {
                return Ok(RoomListPage { rooms, more: false, scanned_to: None });
            }
            let (mut ends, mut stored) = (None, Vec::new());
            for (id, room, known) in page {
                if scanned == MAX_LISTED_SCANS {
                    ends = Some(last.clone());
                    break;
                }
                scanned += 1;
                if visible(RoomRef { id: &id, name: room.name }, &room) {
                    let described = match &known {
                        KnownRoom::Live(instance) => instance.describe(),
                        KnownRoom::Stored(info) => room.describe(&id, info, 0),
                    };
                    size += serde_json::to_string(&described).map_or(0, |json| json.len() + 1);
                    // One room always fits, so that a client that pages through the list reaches its end.
                    if rooms.len() == limit || (size > MAX_LIST_BYTES && !rooms.is_empty()) {
                        ends = Some(None);
                        break;
                    }
                    if matches!(known, KnownRoom::Stored(_)) {
                        stored.push((rooms.len(), Arc::clone(&id)));
                    }
                    rooms.push(described);
                }
                last = Some(id);
            }
            self.count_members(&mut rooms, stored).await?;
            if let Some(scanned_to) = ends {
                return Ok(RoomListPage { rooms, more: true, scanned_to });
            }
        }
    }

    /// Adds the number of connections at other nodes to rooms that aren't in memory here: for all at once, since each
    /// call is a round trip. `stored` holds their indices.
    async fn count_members(
        &self,
        rooms: &mut [frame::RoomInfo],
        stored: Vec<(usize, Arc<str>)>,
    ) -> Result<(), Refusal> {
        let Some(cluster) = self.cluster().filter(|_| !stored.is_empty()) else { return Ok(()) };
        let (places, ids): (Vec<_>, Vec<_>) = stored.into_iter().unzip();
        let sizes = cluster.sizes(&ids).await.map_err(|_| unlisted())?;
        for (place, size) in places.into_iter().zip(sizes) {
            if let Some(room) = rooms.get_mut(place) {
                room.size = size;
            }
        }
        Ok(())
    }

    /// Returns the list entry of a room, in memory or not.
    pub(crate) async fn describe(
        &self,
        room: &RoomSpec,
        room_id: &str,
    ) -> Result<Option<frame::RoomInfo>, Refusal> {
        if let Some(instance) = self.find(room_id) {
            return Ok(Some(instance.describe()));
        }
        let Some(archive) = self.archive() else { return Ok(None) };
        let known = archive.known(room_id).await.map_err(|_| unavailable(room_id))?;
        let Some(info) = known else { return Ok(None) };
        Ok(Some(room.describe(room_id, &info, self.remote_size(room_id).await?)))
    }

    /// Returns a page of rooms after `after`, in memory or in the store.
    async fn known_after(
        &self,
        after: Option<&str>,
    ) -> Result<Vec<(Arc<str>, Arc<RoomSpec>, KnownRoom)>, Refusal> {
        let live = self.page_after(after);
        let mut known: BTreeMap<_, _> = BTreeMap::new();
        // A full page of one source ends the result: beyond it, the other source may have more.
        let mut end =
            (live.len() == ROOMS_PER_PAGE).then(|| live.last().map(|last| Arc::clone(&last.id))).flatten();
        if let Some(archive) = self.archive() {
            let (stored, last) = archive.rooms(after, ROOMS_PER_PAGE).await.map_err(|_| unlisted())?;
            end = match (end, last) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            for (id, info) in stored {
                if let Ok((room, _)) = self.declared(&id) {
                    known.insert(id, (Arc::clone(room), KnownRoom::Stored(info)));
                }
            }
        }
        for instance in live {
            let room = Arc::clone(&instance.room);
            known.insert(Arc::clone(&instance.id), (room, KnownRoom::Live(instance)));
        }
        let known = known.into_iter().map(|(id, (room, known))| (id, room, known));
        Ok(known.take_while(|(id, ..)| end.as_ref().is_none_or(|end| id <= end)).collect())
    }
}

impl LiveRoom {
    /// Returns the room as hooks get it.
    pub(crate) fn room_ref(&self) -> RoomRef<'_> {
        RoomRef { id: &self.id, name: self.room.name }
    }

    /// Returns the room's list entry.
    pub(crate) fn describe(&self) -> frame::RoomInfo {
        self.room.describe(&self.id, &self.info(), self.total_size())
    }
}

impl RoomSpec {
    /// Returns the list entry of a room instance.
    fn describe(&self, room_id: &str, info: &RoomInstanceInfo, size: usize) -> frame::RoomInfo {
        let own = |text: Option<&str>| text.map(str::to_owned);
        frame::RoomInfo {
            room_id: room_id.to_owned(),
            name: own(info.name.as_deref().or(self.options.title)).unwrap_or_else(|| self.name.to_owned()),
            description: own(info.description.as_deref().or(self.options.description)),
            size,
            max_size: self.max_size(info),
            created_by: own(info.created_by.as_deref()),
        }
    }
}

/// Returns the refusal of a list of rooms while the store can't be read.
fn unlisted() -> Refusal {
    Refusal::new(Code::Unavailable, "the list of rooms can't be read now; try again")
}
