//! The execution of [`RoomRead`]s.

use std::sync::Arc;

use super::RoomDriver;
use crate::live::command::{Reply, RoomRead};

impl RoomDriver {
    /// Runs a read, and replies.
    pub(super) fn read(&mut self, read: RoomRead) {
        let Some(core) = &mut self.core else { return };
        match read {
            RoomRead::Members { after, limit, id, reply } => {
                send(reply, core.members_frame(after.as_deref(), limit, id.as_deref()));
            }
            RoomRead::UserIds(reply) => send(reply, core.user_ids()),
            RoomRead::NodesOfUser(user, reply) => send(reply, core.nodes_of_user(&user)),
            RoomRead::RemoteUsers(reply) => send(reply, core.remote_users()),
            RoomRead::Epoch(reply) => send(reply, Arc::clone(core.epoch())),
            RoomRead::SavedState(reply) => send(reply, core.saved_state()),
            RoomRead::NeededPlace(connection, reply) => {
                send(reply, core.needs_place(connection, &self.instance.info()));
            }
            RoomRead::History { before, filter, limit, reply } => {
                send(reply, core.history_page(before, filter, limit));
            }
            RoomRead::Select(query, reply) => send(reply, core.select(&query)),
            RoomRead::FirstSeq(filter, reply) => send(reply, core.first_seq_of(filter)),
            RoomRead::Retained(records, filter, reply) => send(reply, core.filter_retained(records, filter)),
            RoomRead::ChainEnd(reply) => send(reply, core.chain_end()),
            RoomRead::Chain { after, limit, reply } => send(reply, core.chain(after, limit)),
        }
    }
}

fn send<T>(reply: Reply<T>, answer: T) {
    // The caller may have dropped its future.
    let _ = reply.send(answer);
}
