//! Places in full rooms that are held by connections which are dead, and don't know it yet.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Engine;
use crate::hub::{ConnectionId, Cut, Instance, Link, Question};

impl Engine {
    /// Frees the places in a full room that dead connections of a user hold, at any instance; returns whether there was
    /// any.
    ///
    /// A client that comes back after a network failed finds its old connection there, until the keep-alive ends that.
    /// Takes some seconds at most, and only as long as one of the user's connections in the room doesn't answer.
    pub(crate) async fn free_places(self: &Arc<Self>, instance: &Arc<Instance>, link: &Link) -> bool {
        let user = &link.user_id;
        let elsewhere = async {
            let Some(peers) = self.registry.peers() else { return 0 };
            let whose = Arc::clone(user);
            let whom = instance.run(move |state| state.peers_of(&whose)).await.unwrap_or_default();
            let question = Question::Free { room_id: (*instance.id).into(), user: (**user).into() };
            match peers.ask(&instance.id, question, whom).await {
                Ok(answers) => answers.iter().map(|answer| answer.count).sum(),
                Err(error) => {
                    tracing::debug!(room_id = &*instance.id, %error, "places at other instances can't be freed");
                    0
                }
            }
        };
        let (here, elsewhere) = tokio::join!(self.free_here(&instance.id, user, Some(link.id())), elsewhere);
        here + elsewhere > 0
    }

    /// The same for the connections to this instance, but for one; returns how many places it freed.
    pub(super) async fn free_here(&self, room_id: &str, user: &str, except: Option<ConnectionId>) -> usize {
        let mut others = self.directory.connections_of(user);
        others.retain(|link| Some(link.id()) != except && link.room(room_id).is_some());
        // At once, so that together they take no longer than one.
        let freed = join_all(others.iter().map(|link| self.free_if_dead(link, room_id))).await;
        let freed = freed.into_iter().filter(|freed| *freed).count();
        if freed > 0
            && let Some(peers) = self.registry.peers()
        {
            // The caller looks for the place again, which the other instances then know to be free.
            peers.settle().await;
        }
        freed
    }

    async fn free_if_dead(&self, link: &Arc<Link>, room_id: &str) -> bool {
        let Some(instance) = link.room(room_id) else { return false };
        if !link.outbox.is_dead().await {
            return false;
        }
        // Its session, which ends with that, tells the application.
        link.outbox.cut(Cut::Silent);
        link.take_out(&instance, None).await.is_some()
    }
}
