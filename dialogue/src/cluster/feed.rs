//! The dispatch of the backplane's feed to the rooms that its messages are about.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak, atomic::Ordering},
};

use tokio::sync::watch;

use super::{
    Cluster, NodeMessage, SERVER_ROOM, SharedRooms, anti_entropy,
    backplane::{Feed, FeedMessage},
};
use crate::wire::Id;

/// Dispatches the feed until the rooms are dropped or the node leaves.
async fn run(
    cluster: Arc<Cluster>,
    mut feed: Feed,
    rooms: Weak<dyn SharedRooms>,
    mut end: watch::Receiver<()>,
    mut leaving: watch::Receiver<bool>,
) {
    loop {
        let message = tokio::select! {
            biased;
            _ = end.changed() => None,
            _ = leaving.changed() => None,
            message = feed.next() => message,
        };
        let (Some(message), Some(rooms)) = (message, rooms.upgrade()) else { break };
        cluster.handle(&*rooms, message);
    }
    feed.leave().await;
}

impl Cluster {
    /// Starts the tasks that dispatch the feed to the rooms and compare the heads of logs; they end with
    /// the rooms, of whose end `end` tells.
    pub(crate) fn begin(
        self: &Arc<Self>,
        feed: Feed,
        rooms: &Weak<dyn SharedRooms>,
        end: watch::Receiver<()>,
    ) {
        let (feed_rooms, leaving) = (Weak::clone(rooms), self.leaving.subscribe());
        self.runtime.spawn(run(Arc::clone(self), feed, feed_rooms, end, leaving));
        self.runtime.spawn(anti_entropy::run(Arc::clone(self), Weak::clone(rooms)));
    }

    fn handle(self: &Arc<Self>, rooms: &dyn SharedRooms, message: FeedMessage) {
        match message {
            // This node knows its own events from the result of publishing them.
            FeedMessage::Events(batch) if batch.node == self.id => {}
            FeedMessage::Events(batch) => rooms.receive_events(batch),
            FeedMessage::Members { node, .. } | FeedMessage::Message { node, .. } if node == self.id => {}
            FeedMessage::Members { room_id, node, changes } => {
                if !self.nodes().contains(&node) {
                    self.note_unlisted_node(node);
                }
                rooms.receive_members(&room_id, node, changes);
            }
            FeedMessage::Message { room_id, node, message } => {
                if let Some(message) = NodeMessage::decode(&message) {
                    self.handle_message(rooms, &room_id, node, message);
                }
            }
            // From now on, this node receives requests.
            FeedMessage::Gap(room_id) if &*room_id == SERVER_ROOM => {
                self.send_best_effort(&room_id, NodeMessage::Joined)
            }
            FeedMessage::Gap(room_id) => rooms.catch_up(&room_id),
            FeedMessage::Nodes(nodes) => self.set_nodes(rooms, nodes),
            FeedMessage::Forgotten => {
                self.forgotten_count.fetch_add(1, Ordering::AcqRel);
                self.republish_all();
            }
        }
    }

    fn set_nodes(&self, rooms: &dyn SharedRooms, nodes: BTreeSet<Id>) {
        let nodes = Arc::new(nodes);
        let before = std::mem::replace(&mut *self.nodes.write(), Arc::clone(&nodes));
        rooms.set_nodes(&before, &nodes);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use tokio::runtime::Handle;

    use super::*;
    use crate::cluster::{
        HeadMark, NodeRequest, RoomNotice,
        backplane::{FeedEvents, Local, MemberChange},
    };

    struct NoRooms;

    impl SharedRooms for NoRooms {
        fn receive_events(&self, _: FeedEvents) {}

        fn receive_members(&self, _: &str, _: Id, _: Vec<MemberChange>) {}

        fn receive_notice(&self, _: &str, _: RoomNotice) {}

        fn catch_up(&self, _: &str) {}

        fn set_nodes(&self, _: &Arc<BTreeSet<Id>>, _: &Arc<BTreeSet<Id>>) {}

        fn rooms_after(&self, _: Option<&str>) -> Vec<Arc<str>> {
            Vec::new()
        }

        fn head(&self, _: &str) -> Option<HeadMark> {
            None
        }

        fn check_store(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async {})
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_left_gets_no_request_though_it_published_members_last() {
        let (cluster, _feed) =
            Cluster::join(Arc::new(Local::new()), Handle::current()).await.expect("it joins");
        let left = Id::fresh();
        cluster.handle(&NoRooms, FeedMessage::Nodes(BTreeSet::from([left])));
        cluster.handle(&NoRooms, FeedMessage::Nodes(BTreeSet::new()));
        cluster.handle(
            &NoRooms,
            FeedMessage::Members { room_id: "chat".into(), node: left, changes: Vec::new() },
        );
        let request =
            NodeRequest::RemoveMember { user: "ann".into(), room_id: None, reason: "enough".into() };
        let responses = cluster.request_all(request).await.expect("there is no other to ask");
        assert!(responses.is_empty());
    }
}
