//! One connection's say: decodes requests, knows who sent them and which rooms it is in.
//!
//! Knows no socket: replies go to the connection's [`Outbox`].

#[cfg(test)]
mod fuzz;
mod request;

use std::{collections::HashMap, sync::Arc};

use serde_json::value::RawValue;

use request::Request;
pub(crate) use request::{bounded_limit, invalid};

use crate::{
    Channel, Code, Position, Refusal, Sender,
    engine::Engine,
    gate::{Post, Prepared},
    hub::{Instance, InstanceInfo, Join, NotJoined, Outbox, Publish, Reply, RoomDecl, busy},
    identity::User,
    wire::{EventSet, frame},
};

/// See the [module](self). Leaves its rooms when it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    engine: Arc<Engine>,
    outbox: Arc<Outbox>,
    user: User,
    rooms: HashMap<Arc<str>, Arc<Instance>>,
    watches: bool,
}

/// A wish to join, before its room is known.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) wanted: Option<EventSet>,
    pub(crate) since: Option<Position>,
    pub(crate) slot: u8,
    pub(crate) id: Option<Box<RawValue>>,
}

/// Bounds of the protocol.
pub(crate) const HISTORY: (usize, usize) = (50, 200);
pub(crate) const ROOMS: (usize, usize) = (100, 1_000);
const MEMBERS: (usize, usize) = (100, 1_000);

impl Session {
    pub(crate) fn new(engine: Arc<Engine>, outbox: Arc<Outbox>, user: User) -> Self {
        Session { engine, outbox, user, rooms: HashMap::new(), watches: false }
    }

    /// Says who the connection is: the first frame of a socket.
    pub(crate) fn greet(&self) {
        let client_id = crate::log::Id::fresh();
        let connected = frame::Connected {
            client_id: client_id.as_str(),
            user_id: &self.user.id,
            protocol: 1,
            schema: &self.engine.schema,
            anonymous_token: self.user.anonymous_token.as_deref(),
        };
        self.send("connected", None, connected);
    }

    /// Handles one frame of text. Every request with an `id` gets one reply.
    pub(crate) async fn handle(&mut self, text: &str) {
        let request = match Request::parse(text) {
            Ok(request) => request,
            Err(refusal) => return self.refuse(None, &refusal),
        };
        let id = match request.id() {
            Ok(id) => id,
            Err(refusal) => return self.refuse(None, &refusal),
        };
        if let Err(refusal) = self.answer(&request, id).await {
            self.refuse(id, &refusal);
        }
    }

    /// Says why a request failed.
    pub(crate) fn refuse(&self, id: Option<&RawValue>, refusal: &Refusal) {
        self.send("error", id, frame::Error::from(refusal));
    }

    /// Lets the connection into a room that is served over `channel`.
    pub(crate) async fn join(
        &mut self,
        room_id: &str,
        channel: Channel,
        entry: Entry,
    ) -> Result<(), Refusal> {
        let engine = Arc::clone(&self.engine);
        let (room, _) = engine.room(room_id)?;
        if !room.channels.contains(&channel) {
            return Err(crate::hub::not_found(room_id));
        }
        if self.rooms.len() >= engine.limits.rooms && !self.rooms.contains_key(room_id) {
            let message = format!("a connection is in at most {} rooms", engine.limits.rooms);
            return Err(Refusal::new(Code::TooMany, message));
        }
        loop {
            let instance = engine.registry.enter(room, room_id)?;
            let join = Join {
                outbox: Arc::clone(&self.outbox),
                user: Arc::clone(&self.user.id),
                slot: entry.slot,
                wanted: entry.wanted,
                since: entry.since.clone(),
                id: entry.id.clone(),
            };
            // Before the wait, so that whatever ends the wait also ends the membership.
            let before = self.rooms.insert(Arc::clone(&instance.id), Arc::clone(&instance));
            match instance.run(move |state| state.join(join)).await {
                Some(Ok(())) => return Ok(()),
                Some(Err(NotJoined::Refused(refusal))) => {
                    // In the instance that it was in, nobody is refused.
                    if !before.is_some_and(|before| Arc::ptr_eq(&before, &instance)) {
                        self.rooms.remove(room_id);
                    }
                    return Err(refusal);
                }
                // It went just now: the next try makes a new one.
                Some(Err(NotJoined::Gone)) | None => {
                    self.rooms.remove(room_id);
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn answer(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        match &*request.kind()? {
            "trigger" => self.trigger(request, id).await,
            // In a box, so that a connection doesn't hold what they need while it waits for its next frame.
            kind => Box::pin(self.answer_rarely(kind, request, id)).await,
        }
    }

    async fn answer_rarely(
        &mut self,
        kind: &str,
        request: &Request<'_>,
        id: Option<&RawValue>,
    ) -> Result<(), Refusal> {
        match kind {
            "join" => {
                let room_id = request.room_id()?;
                let (room, _) = self.engine.room(&room_id)?;
                let entry = Entry {
                    wanted: events(room, request)?,
                    since: request.since()?,
                    slot: 0,
                    id: id.map(RawValue::to_owned),
                };
                return self.join(&room_id, Channel::WebSocket, entry).await;
            }
            "leave" => self.leave(request, id).await?,
            "subscribe" => self.subscribe(request, id, EventSet::union).await?,
            "unsubscribe" => self.subscribe(request, id, EventSet::without).await?,
            "getHistory" => self.history(request, id).await?,
            "members" => self.members(request, id).await?,
            "listRooms" => self.list_rooms(request, id)?,
            "createRoom" => self.create_room(request, id)?,
            "deleteRoom" => self.delete_room(request, id).await?,
            "auth" => {
                self.engine.identity.renews(&request.token()?, &self.user)?;
                self.done(id);
            }
            other => {
                let shown: String = other.chars().take(64).collect();
                return Err(invalid(format!("`type`: there is no frame `{shown}`")));
            }
        }
        Ok(())
    }

    async fn trigger(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let room = &instance.room;
        let name = request.event()?;
        let event = room.event(&name).ok_or_else(|| room.not_carried(&name))?;
        if room.events.get(usize::from(event)).is_none_or(|kind| kind.sender == Sender::Server) {
            let message = format!("`{name}` is sent by the server only");
            return Err(Refusal::new(Code::EventNotAllowed, message));
        }
        let (data, key, meta) = (request.data()?, request.key()?, request.meta()?);
        let gate = self.engine.gates.get(room.index).ok_or_else(|| crate::hub::not_found(&instance.id))?;
        if let Some(prepared) = gate.open(event, data) {
            // Nothing waits for the log: its `ok` comes by itself, and the next frame may be on its way meanwhile.
            let Prepared { data, conflated } = prepared?;
            let reply = id.map_or(Reply::None, |id| Reply::Frame(Arc::clone(&self.outbox), id.get().into()));
            let from = Arc::clone(&self.user.id);
            let publish = Publish { event, data, conflated, from, server: false, meta, key, reply };
            return instance.publish(publish).await.map_err(|_| busy(&instance.id));
        }
        let post = Post {
            registry: Arc::clone(&self.engine.registry),
            room: Arc::clone(room),
            room_id: Arc::clone(&instance.id),
            event,
            from: Arc::clone(&self.user.id),
            server: false,
            meta,
            key,
        };
        let accepted = gate.admit(data, post).await?;
        if let Some(id) = id {
            self.outbox.send("ok", &frame::accepted(id.get(), &accepted));
        }
        Ok(())
    }

    async fn leave(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let connection = self.outbox.id();
        // The reply comes after the last event.
        instance.run(move |state| state.leave(connection)).await;
        self.rooms.remove(&instance.id);
        self.send("left", id, frame::Left { room_id: &instance.id, reason: None });
        Ok(())
    }

    async fn subscribe(
        &mut self,
        request: &Request<'_>,
        id: Option<&RawValue>,
        change: fn(EventSet, EventSet) -> EventSet,
    ) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let named = events(&instance.room, request)?.ok_or_else(|| invalid("`events` is missing"))?;
        let connection = self.outbox.id();
        instance.run(move |state| state.subscribe(connection, |wanted| change(wanted, named))).await;
        self.done(id);
        Ok(())
    }

    async fn history(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let wanted = match request.event_if_any()? {
            Some(event) => instance.room.events_named([&*event])?,
            None => EventSet::ALL,
        };
        let (before, limit) = (request.before()?, request.limit(HISTORY.0, HISTORY.1)?);
        let own_id = id.map(RawValue::to_owned);
        let page = instance.run(move |state| state.page(before, wanted, limit, own_id.as_deref())).await;
        self.outbox.send("history", &page.ok_or_else(|| busy(&instance.id))?);
        Ok(())
    }

    async fn members(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let after = request.after()?.map(String::from);
        let limit = request.limit(MEMBERS.0, MEMBERS.1)?;
        let own_id = id.map(RawValue::to_owned);
        let list = instance.run(move |state| state.members(after.as_deref(), limit, own_id.as_deref())).await;
        self.outbox.send("members", &list.ok_or_else(|| busy(&instance.id))?);
        Ok(())
    }

    fn list_rooms(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let (after, limit) = (request.after()?, request.limit(ROOMS.0, ROOMS.1)?);
        if request.watch()? && !self.watches {
            self.watches = true;
            self.engine.watch(&self.outbox);
        }
        let rooms = self.engine.registry.list(after.as_deref(), |_| true, limit);
        self.send("rooms", id, rooms);
        Ok(())
    }

    fn create_room(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let room_id = request.room_id()?;
        let (room, _) = self.engine.room(&room_id)?;
        let info = InstanceInfo {
            name: request.name()?,
            description: request.description()?,
            max_size: request.max_size()?,
            created_by: Some(Arc::clone(&self.user.id)),
        };
        let instance = self.engine.registry.create(room, &room_id, info)?;
        self.done(id);
        let created = frame::RoomCreated { room: instance.describe() };
        self.engine.announce("roomCreated", &frame::Frame::new("roomCreated", None, created).encode());
        Ok(())
    }

    async fn delete_room(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let room_id = request.room_id()?;
        self.engine.room(&room_id)?;
        let instance = self.engine.registry.find(&room_id).ok_or_else(|| crate::hub::not_found(&room_id))?;
        if instance.info.created_by.as_ref() != Some(&self.user.id) {
            return Err(Refusal::new(Code::PermissionDenied, "only its creator may delete a room"));
        }
        instance.run(|state| state.delete("the room was deleted")).await;
        self.rooms.remove(&instance.id);
        self.done(id);
        let deleted = frame::RoomDeleted { room_id: &room_id };
        self.engine.announce("roomDeleted", &frame::Frame::new("roomDeleted", None, deleted).encode());
        Ok(())
    }

    /// A room that the connection is in.
    fn joined(&mut self, room_id: &str) -> Result<Arc<Instance>, Refusal> {
        match self.rooms.get(room_id) {
            Some(instance) if !instance.is_retired() => return Ok(Arc::clone(instance)),
            // It was deleted, and everybody was told.
            Some(_) => drop(self.rooms.remove(room_id)),
            None => drop(self.engine.room(room_id)?),
        }
        Err(Refusal::new(Code::NotInRoom, "join the room first"))
    }

    /// The `ok` of a request that has nothing more to say.
    fn done(&self, id: Option<&RawValue>) {
        if id.is_some() {
            self.send("ok", id, frame::Empty {});
        }
    }

    fn send<T: serde::Serialize>(&self, kind: &'static str, id: Option<&RawValue>, body: T) {
        self.outbox.send(kind, &frame::Frame::new(kind, id, body).encode());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let connection = self.outbox.id();
        if self.watches {
            self.engine.unwatch(connection);
        }
        for instance in self.rooms.values() {
            instance.cast(move |state| state.leave(connection));
        }
    }
}

fn events(room: &RoomDecl, request: &Request<'_>) -> Result<Option<EventSet>, Refusal> {
    let named = request.events()?;
    named.map(|named| room.events_named(named.iter().map(|name| &**name))).transpose()
}
