//! What the tests of this floor share, and what many do at once to one room.

use super::RoomDecl;
use crate::{Channel, DeliveryClass, RoomOptions, Sender, room::EventKind};

pub(super) const MESSAGE: u8 = 0;
pub(super) const TYPING: u8 = 1;
pub(super) const PRICE: u8 = 2;

/// A room with an event of each class.
pub(super) fn room(name: &'static str, keyed: bool, options: RoomOptions) -> RoomDecl {
    let kind = |name, class| EventKind { name, class, sender: Sender::Anyone, shape: "" };
    RoomDecl {
        index: 0,
        name,
        keyed,
        options,
        channels: &[Channel::WebSocket, Channel::Sse],
        events: vec![
            kind("message", DeliveryClass::Durable),
            kind("typing", DeliveryClass::Ephemeral),
            kind("price", DeliveryClass::Latest),
        ],
    }
}
