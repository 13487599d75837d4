//! The mapping between the Pub/Sub channels of a node and the messages of its [`Feed`](dialogue_core::backplane::Feed).

use std::sync::Arc;

use dialogue_core::{backplane::FeedMessage, wire::Id};

use super::message;
use crate::{key_space::KeySpace, pubsub::PubSubEvent};

/// The meaning of an event of a channel.
pub(super) enum ChannelEvent {
    /// The subscription to this node's own channel has begun.
    OwnSubscribed,
    /// A message for the feed.
    Message(FeedMessage),
    /// An event of no room's channel.
    Ignored,
}

/// The names of channels.
pub(super) struct ChannelNames {
    own: String,
    /// The part of a room's channel name before the room id.
    prefix: String,
    /// The part of a room's channel name after the room id.
    suffix: String,
}

impl ChannelNames {
    pub(super) fn new(keys: KeySpace, node: Id) -> Self {
        let channel = keys.room("\n", "feed");
        let (prefix, suffix) = channel.split_once('\n').unwrap_or_default();
        ChannelNames {
            own: keys.node(node.as_str(), "feed"),
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
        }
    }

    pub(super) fn interpret(&self, event: PubSubEvent) -> ChannelEvent {
        let room = |channel: &str| {
            let room_id = channel.strip_prefix(&self.prefix)?.strip_suffix(&self.suffix)?;
            Some(Arc::<str>::from(room_id))
        };
        match event {
            PubSubEvent::Subscribed(channel) if channel == self.own => ChannelEvent::OwnSubscribed,
            PubSubEvent::Subscribed(channel) => room(&channel)
                .map_or(ChannelEvent::Ignored, |room| ChannelEvent::Message(FeedMessage::Gap(room))),
            PubSubEvent::Message(channel, payload) => {
                // A message of a newer version, which this one can't read, is a gap: the server reads the log instead.
                let message = room(&channel).map(|room| {
                    message::decode(Arc::clone(&room), payload).unwrap_or(FeedMessage::Gap(room))
                });
                message.map_or(ChannelEvent::Ignored, ChannelEvent::Message)
            }
        }
    }
}
