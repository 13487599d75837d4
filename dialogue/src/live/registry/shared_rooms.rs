//! The registry's rooms, as the other nodes' messages concern them.

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use super::Registry;
use crate::{
    cluster::{
        HeadMark, RoomNotice, SharedRooms,
        backplane::{FeedEvents, MemberChange},
    },
    wire::Id,
};

impl SharedRooms for Registry {
    fn receive_events(&self, events: FeedEvents) {
        if let Some(instance) = self.find(&events.room_id) {
            instance.receive_events(events);
        }
    }

    fn receive_members(&self, room_id: &str, node: Id, changes: Vec<MemberChange>) {
        if let Some(instance) = self.find(room_id) {
            instance.receive_members(node, changes);
        }
    }

    fn receive_notice(&self, room_id: &str, notice: RoomNotice) {
        if let Some(instance) = self.find(room_id) {
            instance.receive_notice(notice);
        }
    }

    fn catch_up(&self, room_id: &str) {
        if let Some(instance) = self.find(room_id) {
            instance.catch_up();
        }
    }

    fn set_nodes(&self, before: &Arc<BTreeSet<Id>>, nodes: &Arc<BTreeSet<Id>>) {
        let mut last: Option<Arc<str>> = None;
        loop {
            let page = self.page_after(last.as_deref());
            let Some(end) = page.last() else { return };
            last = Some(Arc::clone(&end.id));
            page.iter().for_each(|instance| instance.set_nodes(before, nodes));
        }
    }

    fn rooms_after(&self, after: Option<&str>) -> Vec<Arc<str>> {
        self.page_after(after).iter().map(|instance| Arc::clone(&instance.id)).collect()
    }

    fn head(&self, room_id: &str) -> Option<HeadMark> {
        self.find(room_id).map(|instance| instance.head())
    }

    fn check_store(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let archive = self.archive().cloned();
        Box::pin(async move {
            if let Some(archive) = archive {
                archive.journal.check().await;
            }
        })
    }
}
