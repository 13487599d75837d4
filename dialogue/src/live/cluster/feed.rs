//! The dispatch of the backplane's feed to the rooms that its messages are about.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak, atomic::Ordering},
};

use tokio::sync::watch;

use super::{Cluster, NodeMessage, SERVER_ROOM};
use crate::{
    backplane::{Feed, FeedMessage},
    live::Registry,
    wire::Id,
};

/// Dispatches the feed until the registry is dropped or the node leaves.
pub(super) async fn run(
    cluster: Arc<Cluster>,
    mut feed: Feed,
    registry: Weak<Registry>,
    mut end: watch::Receiver<()>,
    mut leaving: watch::Receiver<bool>,
) {
    loop {
        let message = tokio::select! {
            message = feed.next() => message,
            _ = end.changed() => None,
            _ = leaving.changed() => None,
        };
        let (Some(message), Some(registry)) = (message, registry.upgrade()) else { break };
        cluster.handle(&registry, message);
    }
    feed.leave().await;
}

impl Cluster {
    fn handle(self: &Arc<Self>, registry: &Registry, message: FeedMessage) {
        match message {
            // This node knows its own events from the result of publishing them.
            FeedMessage::Events(batch) if batch.node == self.id => {}
            FeedMessage::Events(batch) => {
                if let Some(instance) = registry.find(&batch.room_id) {
                    instance.receive_events(batch);
                }
            }
            FeedMessage::Members { node, .. } | FeedMessage::Message { node, .. } if node == self.id => {}
            FeedMessage::Members { room_id, node, changes } => {
                if !self.nodes().contains(&node) {
                    self.note_unlisted_node(node);
                }
                if let Some(instance) = registry.find(&room_id) {
                    instance.receive_members(node, changes);
                }
            }
            FeedMessage::Message { room_id, node, message } => {
                let Some(message) = NodeMessage::decode(&message) else { return };
                if let Some(instance) = registry.find(&room_id) {
                    instance.receive_message(&message);
                }
                self.handle_message(&room_id, node, message);
            }
            // From now on, this node receives requests.
            FeedMessage::Gap(room_id) if &*room_id == SERVER_ROOM => {
                self.send_best_effort(&room_id, NodeMessage::Joined)
            }
            FeedMessage::Gap(room_id) => {
                if let Some(instance) = registry.find(&room_id) {
                    instance.catch_up();
                }
            }
            FeedMessage::Nodes(nodes) => self.set_nodes(registry, nodes),
            FeedMessage::Forgotten => {
                self.forgotten_count.fetch_add(1, Ordering::AcqRel);
                self.republish_all();
            }
        }
    }

    fn set_nodes(&self, registry: &Registry, nodes: BTreeSet<Id>) {
        let nodes = Arc::new(nodes);
        let before = std::mem::replace(&mut *self.nodes.write(), Arc::clone(&nodes));
        let mut last: Option<Arc<str>> = None;
        loop {
            let page = registry.page_after(last.as_deref());
            let Some(end) = page.last() else { return };
            last = Some(Arc::clone(&end.id));
            page.iter().for_each(|instance| instance.set_nodes(&before, &nodes));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::{
        backplane::Local,
        live::{NewRoomBounds, NodeRequest},
    };

    #[tokio::test(start_paused = true)]
    async fn a_node_that_left_gets_no_request_though_it_published_members_last() {
        let (cluster, _feed) =
            Cluster::join(Arc::new(Local::new()), Handle::current()).await.expect("it joins");
        let registry = Registry::new(Vec::new(), 1, NewRoomBounds::default(), None, Handle::current());
        let left = Id::fresh();
        cluster.handle(&registry, FeedMessage::Nodes(BTreeSet::from([left])));
        cluster.handle(&registry, FeedMessage::Nodes(BTreeSet::new()));
        cluster.handle(
            &registry,
            FeedMessage::Members { room_id: "chat".into(), node: left, changes: Vec::new() },
        );
        let request =
            NodeRequest::RemoveMember { user: "ann".into(), room_id: None, reason: "enough".into() };
        let responses = cluster.request_all(request).await.expect("there is no other to ask");
        assert!(responses.is_empty());
    }
}
