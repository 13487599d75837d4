//! The quota of new rooms: how many rooms a client may open in an hour, by its user and by its address, and which of
//! them make space for others.
//!
//! A [`RecentRoom`] is the entry of one such room, which its instance holds.

mod ledger;
mod new_room_quota;
mod opener;
mod recent_room;

pub(crate) use new_room_quota::NewRoomBounds;
pub(super) use new_room_quota::{NewRoomQuota, OpenerRooms, QuotaExceeded};
pub(crate) use opener::Opener;
pub(super) use opener::QuotaSubject;
pub(super) use recent_room::{OccupiedRoom, RecentRoom};
