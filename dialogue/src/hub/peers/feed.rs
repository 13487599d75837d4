//! What the others tell, handed to the rooms that it is about.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak, atomic::Ordering},
};

use tokio::sync::watch;

use super::{ALL, Message, Peers};
use crate::{
    backplane::{Feed, FeedMessage},
    hub::Registry,
    wire::Id,
};

/// Hands it out until the registry is gone.
pub(super) async fn run(
    peers: Arc<Peers>,
    mut feed: Feed,
    registry: Weak<Registry>,
    mut end: watch::Receiver<()>,
    mut leaving: watch::Receiver<bool>,
) {
    loop {
        let told = tokio::select! {
            told = feed.next() => told,
            _ = end.changed() => None,
            _ = leaving.changed() => None,
        };
        let (Some(told), Some(registry)) = (told, registry.upgrade()) else { break };
        peers.hear(&registry, told);
    }
    feed.leave().await;
}

impl Peers {
    fn hear(self: &Arc<Self>, registry: &Registry, told: FeedMessage) {
        match told {
            // What this instance told itself, it knows from the answer.
            FeedMessage::Events(batch) if batch.node == self.id => {}
            FeedMessage::Events(batch) => {
                if let Some(instance) = registry.find(&batch.room_id) {
                    instance.hear(batch);
                }
            }
            FeedMessage::Members { node: peer, .. } | FeedMessage::Message { node: peer, .. }
                if peer == self.id => {}
            FeedMessage::Members { room_id, node: peer, changes } => {
                if !self.there().contains(&peer) {
                    self.speaks(peer);
                }
                if let Some(instance) = registry.find(&room_id) {
                    instance.hear_members(peer, changes);
                }
            }
            FeedMessage::Message { room_id, node: peer, message } => {
                let Some(message) = Message::decode(&message) else { return };
                if let Some(instance) = registry.find(&room_id) {
                    instance.hear_message(&message);
                }
                self.heard(&room_id, peer, message);
            }
            // From now on it hears what it is asked.
            FeedMessage::Gap(room_id) if &*room_id == ALL => self.tell_if_possible(&room_id, Message::Here),
            FeedMessage::Gap(room_id) => {
                if let Some(instance) = registry.find(&room_id) {
                    instance.catch_up();
                }
            }
            FeedMessage::Nodes(there) => self.peers_are(registry, there),
            FeedMessage::Forgotten => {
                self.forgotten.fetch_add(1, Ordering::AcqRel);
                self.call_all_rolls();
            }
        }
    }

    fn peers_are(&self, registry: &Registry, there: BTreeSet<Id>) {
        let there = Arc::new(there);
        let before = std::mem::replace(&mut *self.there.write(), Arc::clone(&there));
        let mut last: Option<Arc<str>> = None;
        loop {
            let stretch = registry.stretch(last.as_deref());
            let Some(end) = stretch.last() else { return };
            last = Some(Arc::clone(&end.id));
            stretch.iter().for_each(|instance| instance.peers_are(&before, &there));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::{
        backplane::Local,
        hub::{NewBounds, Question},
    };

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_left_is_not_asked_for_what_it_said_last() {
        let (peers, _feed) = Peers::join(Arc::new(Local::new()), Handle::current()).await.expect("it joins");
        let registry = Registry::new(Vec::new(), 1, NewBounds::default(), None, Handle::current());
        let left = Id::fresh();
        peers.hear(&registry, FeedMessage::Nodes(BTreeSet::from([left])));
        peers.hear(&registry, FeedMessage::Nodes(BTreeSet::new()));
        peers.hear(
            &registry,
            FeedMessage::Members { room_id: "chat".into(), node: left, changes: Vec::new() },
        );
        let question = Question::PutOut { user: "ann".into(), room_id: None, reason: "enough".into() };
        let answers = peers.ask_all(question).await.expect("there is no other to ask");
        assert!(answers.is_empty());
    }
}
