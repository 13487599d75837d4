//! What is heard in channels, and of which room.

use std::sync::Arc;

use super::message;
use crate::{
    backplane::FeedMessage,
    redis::{Heard, Keys},
    wire::Id,
};

/// What is said in a channel.
pub(super) enum Said {
    /// This node's own channel is listened to.
    Own,
    Message(FeedMessage),
    Nothing,
}

/// What channels are called.
pub(super) struct Channels {
    own: String,
    /// What the name of a room's channel begins and ends with.
    begin: String,
    end: String,
}

impl Channels {
    pub(super) fn new(keys: Keys, node: Id) -> Self {
        let channel = keys.room("\n", "feed");
        let (begin, end) = channel.split_once('\n').unwrap_or_default();
        Channels { own: keys.node(node.as_str(), "feed"), begin: begin.to_owned(), end: end.to_owned() }
    }

    pub(super) fn hear(&self, heard: Heard) -> Said {
        let room = |channel: &str| {
            let room_id = channel.strip_prefix(&self.begin)?.strip_suffix(&self.end)?;
            Some(Arc::<str>::from(room_id))
        };
        match heard {
            Heard::Listening(channel) if channel == self.own => Said::Own,
            Heard::Listening(channel) => {
                room(&channel).map_or(Said::Nothing, |room| Said::Message(FeedMessage::Gap(room)))
            }
            Heard::Message(channel, said) => {
                // A newer version may say what this one doesn't understand; what matters is in the log.
                let told = room(&channel)
                    .map(|room| message::read(Arc::clone(&room), said).unwrap_or(FeedMessage::Gap(room)));
                told.map_or(Said::Nothing, Said::Message)
            }
        }
    }
}
