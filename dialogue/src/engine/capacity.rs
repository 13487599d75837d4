//! Reclaims capacity in full rooms from dead connections: those whose client is unreachable, and whose keep-alive
//! timeout isn't over yet.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Engine;
use crate::{
    cluster::NodeRequest,
    live::{ConnectionHandle, ConnectionId, LiveRoom, OutboxCloseReason},
};

impl Engine {
    /// Removes the dead connections of a user from a full room, at all nodes, and returns whether there was any.
    ///
    /// A client that reconnects after a network failure would otherwise be refused with `ROOM_FULL` because of its own
    /// old connection, until the keep-alive timeout ends that. Each of the user's connections in the room is sent a
    /// ping; the call takes some seconds if one of them doesn't answer.
    pub(super) async fn remove_dead_connections_at_all_nodes(
        &self,
        link: &ConnectionHandle,
        instance: &Arc<LiveRoom>,
    ) -> bool {
        let user = &link.user_id;
        let remote = async {
            let Some(cluster) = self.registry.cluster() else { return 0 };
            let nodes = instance.nodes_of(user).await;
            let request = NodeRequest::FreePlaces { room_id: (*instance.id).into(), user: (**user).into() };
            match cluster.request(&instance.id, request, nodes).await {
                Ok(responses) => responses.iter().map(|response| response.count).sum(),
                Err(error) => {
                    tracing::debug!(room_id = &*instance.id, %error, "can't remove dead connections at other nodes");
                    0
                }
            }
        };
        let (local, remote) =
            tokio::join!(self.remove_dead_connections(&instance.id, user, Some(link.id())), remote);
        local + remote > 0
    }

    /// Removes the user's dead connections to this node from a room, except one connection, and returns how many it
    /// removed.
    pub(super) async fn remove_dead_connections(
        &self,
        room_id: &str,
        user: &str,
        except: Option<ConnectionId>,
    ) -> usize {
        let mut others = self.directory.connections_of(user);
        others.retain(|link| Some(link.id()) != except && link.room(room_id).is_some());
        // Concurrently: they share one timeout.
        let removed = join_all(others.iter().map(|link| self.remove_if_dead(link, room_id))).await;
        let removed = removed.into_iter().filter(|removed| *removed).count();
        if removed > 0
            && let Some(cluster) = self.registry.cluster()
        {
            // The caller joins again, and needs the other nodes to know the new number of members by then.
            cluster.settle().await;
        }
        removed
    }

    async fn remove_if_dead(&self, link: &Arc<ConnectionHandle>, room_id: &str) -> bool {
        let Some(instance) = link.room(room_id) else { return false };
        if !link.outbox.is_unresponsive().await {
            return false;
        }
        // The cut ends the session, which runs the `left` hook.
        link.outbox.close(OutboxCloseReason::Unresponsive);
        link.remove_from(&instance, None).await.is_some()
    }
}
