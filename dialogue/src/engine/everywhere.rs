//! What is done to a user wherever the user is connected, and what of it other instances ask for.

use std::{pin::Pin, sync::Arc};

use super::{Engine, Kind};
use crate::{
    Code, Refusal,
    hub::{Answer, Attendant, ConnectionAt, Cut, DELETED, Instance, Link, Publish, Question, Reply, Whisper},
    observe::Origin,
    wire::{Id, frame},
};

impl Engine {
    /// Does it here and at all other instances; yields what came of it everywhere.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if another instance can't be reached.
    pub(crate) async fn everywhere(self: &Arc<Self>, question: Question) -> Result<Answer, Refusal> {
        let asking = async {
            match self.registry.peers() {
                Some(peers) => peers.ask_all(question.clone()).await,
                None => Ok(Vec::new()),
            }
        };
        let (mut answer, others) = tokio::join!(Arc::clone(self).do_here(question.clone()), asking);
        let others = others.map_err(|error| {
            tracing::debug!(%error, "other instances can't be asked for something");
            Refusal::new(Code::Unavailable, "another instance can't be reached; try again")
        })?;
        for other in others {
            answer.count += other.count;
            answer.connections.extend(other.connections);
        }
        Ok(answer)
    }

    /// Whether a user is in a room, at any instance.
    pub(crate) async fn is_in(&self, user: &Arc<str>, room_id: &str) -> Result<bool, Refusal> {
        if self.directory.is_in_room(user, room_id) {
            return Ok(true);
        }
        if self.registry.peers().is_none() {
            return Ok(false);
        }
        let (room, _) = self.room(room_id)?;
        let user = Arc::clone(user);
        self.registry.run(room, room_id, move |state| !state.peers_of(&user).is_empty()).await
    }

    /// Has those who watch at other instances told.
    pub(super) fn announce_elsewhere(&self, room_id: &str, created: bool) {
        if let Some(peers) = self.registry.peers() {
            peers.tell_watchers(room_id, created);
        }
    }

    async fn do_here(self: Arc<Self>, question: Question) -> Answer {
        let connections = |count| Answer { count, connections: Vec::new() };
        match question {
            Question::Whisper { .. } => connections(self.whisper(question).await),
            Question::PutOut { user, room_id, reason } => {
                connections(self.put_user_out(&user, room_id.as_deref(), &reason).await)
            }
            Question::Disconnect { user, client_id, reason } => {
                let links = self.directory.connections_of(&user);
                let wanted = links
                    .iter()
                    .filter(|link| client_id.as_deref().is_none_or(|id| link.client_id.as_str() == id));
                let cut = wanted.map(|link| link.outbox.cut(Cut::Removed(reason.as_str().into())));
                connections(cut.count())
            }
            Question::Free { user, room_id } => connections(self.free_here(&room_id, &user, None).await),
            Question::Connections { user } => {
                let links = self.directory.connections_of(&user);
                Answer {
                    count: links.len(),
                    connections: links.iter().map(|link| connection(link)).collect(),
                }
            }
        }
    }

    /// Puts a user's connections to this instance out of a room, or of all; yields out of how many.
    async fn put_user_out(&self, user: &str, room_id: Option<&str>, reason: &str) -> usize {
        let mut out = 0;
        for link in self.directory.connections_of(user) {
            let rooms = match room_id {
                Some(room_id) => link.room(room_id).into_iter().collect(),
                None => link.rooms(),
            };
            for instance in rooms {
                out += usize::from(self.put_out(&link, &instance, reason).await);
            }
        }
        out
    }

    /// Hands an event of another instance to a user's connections to this one; yields to how many.
    async fn whisper(&self, question: Question) -> usize {
        let Question::Whisper { room_id, user, event, event_id, timestamp, data, from, server, meta } =
            question
        else {
            return 0;
        };
        let Some(instance) = self.registry.find(&room_id) else { return 0 };
        let (Some(event), Some(event_id)) = (instance.room.event(&event), Id::parse(&event_id)) else {
            return 0;
        };
        let to = self.directory.connections_of(&user).iter().map(|link| link.id()).collect();
        let whisper = Whisper { event_id, timestamp, to };
        let from = (*from).into();
        let publish = Publish {
            event,
            data,
            conflated: None,
            from,
            server,
            meta,
            key: None,
            event_id: None,
            origin: Origin::elsewhere(),
            by: None,
            reply: Reply::None,
        };
        instance.run(move |state| state.whisper(publish, &whisper)).await.unwrap_or(0)
    }

    async fn announce_of(&self, room_id: &str, created: bool) {
        let Ok((room, _)) = self.room(room_id) else { return };
        if !created {
            if let Some(instance) = self.registry.find(room_id) {
                // Those who are in it are told first.
                instance.catch_up();
                instance.run(|_| ()).await;
            }
            return self.announce_deleted(room, &room_id.into());
        }
        match self.registry.describe(room, room_id).await {
            Ok(Some(described)) => {
                let created = frame::RoomCreated { room: described };
                let json = frame::Frame::new("roomCreated", None, created).encode();
                self.announce(room, &room_id.into(), Kind::Created, json);
            }
            // It is gone again.
            Ok(None) => {}
            Err(refusal) => tracing::debug!(room_id, %refusal, "those who watch can't be told of a room"),
        }
    }
}

impl Attendant for Engine {
    fn attend(self: Arc<Self>, question: Question) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        Box::pin(self.do_here(question))
    }

    fn ended(
        self: Arc<Self>,
        instance: Arc<Instance>,
        gone: Vec<Arc<Link>>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            for link in gone {
                self.left(&link, &instance, DELETED).await;
            }
        })
    }

    fn announce(self: Arc<Self>, room_id: &str, created: bool) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let room_id = room_id.to_owned();
        Box::pin(async move { self.announce_of(&room_id, created).await })
    }
}

fn connection(link: &Link) -> ConnectionAt {
    ConnectionAt {
        client_id: link.client_id.as_str().to_owned(),
        rooms: link.rooms().iter().map(|instance| instance.id.to_string()).collect(),
    }
}
