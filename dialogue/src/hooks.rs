//! The application's say on who comes, joins, speaks and leaves.

use std::{fmt, future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use crate::{
    Accepted, Code, Refusal,
    caught::{caught, caught_now},
    identity::User,
};

/// What an application wants to know of, and to decide. `I` is its [`Authenticator`](crate::Authenticator)'s identity.
///
/// Every method has a default that does nothing and allows everything. A hook that panics fails the request that it was
/// called for with `INTERNAL` (where there is one), is logged, and hurts nobody else. Hooks of one connection are
/// called one after the other; those of several at once.
///
/// ```
/// use dialogue::{Hooks, Refusal, RoomRef, Visitor};
///
/// struct Doorkeeper;
///
/// impl<I: Send + Sync + 'static> Hooks<I> for Doorkeeper {
///     async fn before_join(&self, who: &Visitor<I>, room: &RoomRef<'_>) -> Result<(), Refusal> {
///         if room.name() == "vault" && !who.has_role("keeper") {
///             return Err(Refusal::join_denied("only keepers may enter"));
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Hooks<I = ()>: Send + Sync + 'static {
    /// Somebody opens a socket or a stream, and is told of before anything else is said; a refusal turns them away.
    ///
    /// # Errors
    ///
    /// What they are told.
    fn connect(&self, who: &Visitor<I>) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = who;
        async { Ok(()) }
    }

    /// A connection is gone, for whatever reason, after it left its rooms. Called once for each `connect` that allowed it.
    fn disconnect(&self, who: &Visitor<I>, reason: &str) -> impl Future<Output = ()> + Send {
        let _ = (who, reason);
        async {}
    }

    /// Whether somebody may join a room; also asked for what they do there over HTTP.
    ///
    /// # Errors
    ///
    /// What they are told, usually [`Refusal::join_denied`].
    fn before_join(
        &self,
        who: &Visitor<I>,
        room: &RoomRef<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (who, room);
        async { Ok(()) }
    }

    /// Whether somebody who may join an instance of a keyed room may create it; a join makes it too, and is not asked this.
    ///
    /// # Errors
    ///
    /// The refusal, usually [`Refusal::denied`].
    fn before_create(
        &self,
        who: &Visitor<I>,
        room: &RoomRef<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (who, room);
        async { Ok(()) }
    }

    /// A connection is in a room that it wasn't in.
    fn joined(&self, who: &Visitor<I>, room: &RoomRef<'_>) -> impl Future<Output = ()> + Send {
        let _ = (who, room);
        async {}
    }

    /// A connection is no longer in a room: it left, it is gone, or the server removed it. Called once for each `joined`.
    fn left(&self, who: &Visitor<I>, room: &RoomRef<'_>, reason: &str) -> impl Future<Output = ()> + Send {
        let _ = (who, room, reason);
        async {}
    }

    /// An instance of a keyed room was created: by a user, or by server code.
    fn room_created(&self, room: &RoomRef<'_>, by: Option<&str>) -> impl Future<Output = ()> + Send {
        let _ = (room, by);
        async {}
    }

    /// An instance was deleted, after everybody in it has left.
    fn room_deleted(&self, room: &RoomRef<'_>) -> impl Future<Output = ()> + Send {
        let _ = room;
        async {}
    }

    /// A user's event is about to go through its middleware.
    ///
    /// # Errors
    ///
    /// What the sender is told, usually [`Refusal::blocked`].
    fn before_trigger(
        &self,
        who: &Visitor<I>,
        room: &RoomRef<'_>,
        event: &str,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (who, room, event);
        async { Ok(()) }
    }

    /// A user's event was accepted, and handed to `recipients` readers of this process.
    fn after_trigger(
        &self,
        who: &Visitor<I>,
        room: &RoomRef<'_>,
        event: &str,
        accepted: &Accepted,
        recipients: usize,
    ) -> impl Future<Output = ()> + Send {
        let _ = (who, room, event, accepted, recipients);
        async {}
    }

    /// Whether a user who asked for a room's notifications still gets them: asked before each push to each of their devices,
    /// while nobody is there who shows a token. So it is the application's to look up who its users are now; `before_join`
    /// was asked when the device registered.
    ///
    /// It is asked often: for a room of many devices, many at once. After a second it counts as failed.
    ///
    /// # Errors
    ///
    /// With [`Code::Unavailable`](crate::Code::Unavailable), it can't be told now, and the push is tried again later. With any
    /// other, usually of [`Refusal::join_denied`], the device is taken out of the room: it gets no more of the room's
    /// notifications until it registers for them again, for which `before_join` is asked.
    fn before_push(
        &self,
        user_id: &str,
        room: &RoomRef<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (user_id, room);
        async { Ok(()) }
    }

    /// Whether somebody is told that a room is there, in lists and while watching. Not asked of rooms that need a role which
    /// they lack.
    fn sees(&self, who: &Visitor<I>, room: &RoomRef<'_>) -> bool {
        let _ = (who, room);
        true
    }
}

/// Whoever does something: a user on one connection, or over HTTP.
pub struct Visitor<I> {
    user: User,
    client_id: Option<Arc<str>>,
    identity: PhantomData<fn() -> I>,
}

impl<I: Send + Sync + 'static> Visitor<I> {
    /// The user's public id.
    pub fn user_id(&self) -> &str {
        &self.user.id
    }

    /// The connection's public id; none over HTTP.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// What the authenticator told; none of an anonymous user.
    pub fn identity(&self) -> Option<&I> {
        self.user.known.as_ref().and_then(|known| known.identity.downcast_ref())
    }

    /// Whether the user has the role.
    pub fn has_role(&self, role: &str) -> bool {
        self.user.has_role(role)
    }
}

impl<I> fmt::Debug for Visitor<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor").field("user_id", &self.user.id).finish_non_exhaustive()
    }
}

/// Which room.
#[derive(Debug, Clone, Copy)]
pub struct RoomRef<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'static str,
}

impl<'a> RoomRef<'a> {
    /// The id of the instance, as on the wire: `chat`, `project:42`.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// The declared name: `project`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The text of the key: `42`.
    pub fn key(&self) -> Option<&'a str> {
        self.id.split_once(':').map(|(_, key)| key)
    }
}

/// Who does something, before the identity's type is known again.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) user: User,
    pub(crate) client_id: Option<Arc<str>>,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`Hooks`] without the identity's type. Each call is a box: hooks are called once a join or an event, and only where an
/// application has some.
pub(crate) trait AnyHooks: Send + Sync {
    fn connect<'a>(&'a self, who: &'a Actor) -> Answer<'a, Result<(), Refusal>>;
    fn disconnect<'a>(&'a self, who: &'a Actor, reason: &'a str) -> Answer<'a, ()>;
    fn before_join<'a>(&'a self, who: &'a Actor, room: RoomRef<'a>) -> Answer<'a, Result<(), Refusal>>;
    fn before_create<'a>(&'a self, who: &'a Actor, room: RoomRef<'a>) -> Answer<'a, Result<(), Refusal>>;
    fn joined<'a>(&'a self, who: &'a Actor, room: RoomRef<'a>) -> Answer<'a, ()>;
    fn left<'a>(&'a self, who: &'a Actor, room: RoomRef<'a>, reason: &'a str) -> Answer<'a, ()>;
    fn room_created<'a>(&'a self, room: RoomRef<'a>, by: Option<&'a str>) -> Answer<'a, ()>;
    fn room_deleted<'a>(&'a self, room: RoomRef<'a>) -> Answer<'a, ()>;
    fn before_trigger<'a>(
        &'a self,
        who: &'a Actor,
        room: RoomRef<'a>,
        event: &'a str,
    ) -> Answer<'a, Result<(), Refusal>>;
    fn after_trigger<'a>(
        &'a self,
        who: &'a Actor,
        room: RoomRef<'a>,
        event: &'a str,
        accepted: &'a Accepted,
        recipients: usize,
    ) -> Answer<'a, ()>;
    #[cfg_attr(not(feature = "push"), expect(dead_code, reason = "nobody is pushed to"))]
    fn before_push<'a>(&'a self, user_id: &'a str, room: RoomRef<'a>) -> Answer<'a, Result<(), Refusal>>;
    fn sees(&self, who: &Actor, room: RoomRef<'_>) -> bool;
}

/// See [`AnyHooks`].
pub(crate) struct Typed<H, I> {
    hooks: H,
    identity: PhantomData<fn() -> I>,
}

impl<I: Send + Sync + 'static, H: Hooks<I>> Typed<H, I> {
    pub(crate) fn new(hooks: H) -> Self {
        Typed { hooks, identity: PhantomData }
    }
}

impl<I: Send + Sync + 'static, H: Hooks<I>> AnyHooks for Typed<H, I> {
    fn connect<'a>(&'a self, who: &'a Actor) -> Answer<'a, Result<(), Refusal>> {
        Box::pin(async move { decide("connect", async { self.hooks.connect(&visitor(who)).await }).await })
    }

    fn disconnect<'a>(&'a self, who: &'a Actor, reason: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            tell("disconnect", async { self.hooks.disconnect(&visitor(who), reason).await }).await
        })
    }

    fn before_join<'a>(&'a self, who: &'a Actor, room: RoomRef<'a>) -> Answer<'a, Result<(), Refusal>> {
        Box::pin(async move {
            decide("before_join", async { self.hooks.before_join(&visitor(who), &room).await }).await
        })
    }

    fn before_create<'a>(&'a self, who: &'a Actor, room: RoomRef<'a>) -> Answer<'a, Result<(), Refusal>> {
        Box::pin(async move {
            decide("before_create", async { self.hooks.before_create(&visitor(who), &room).await }).await
        })
    }

    fn joined<'a>(&'a self, who: &'a Actor, room: RoomRef<'a>) -> Answer<'a, ()> {
        Box::pin(async move { tell("joined", async { self.hooks.joined(&visitor(who), &room).await }).await })
    }

    fn left<'a>(&'a self, who: &'a Actor, room: RoomRef<'a>, reason: &'a str) -> Answer<'a, ()> {
        Box::pin(
            async move { tell("left", async { self.hooks.left(&visitor(who), &room, reason).await }).await },
        )
    }

    fn room_created<'a>(&'a self, room: RoomRef<'a>, by: Option<&'a str>) -> Answer<'a, ()> {
        Box::pin(
            async move { tell("room_created", async { self.hooks.room_created(&room, by).await }).await },
        )
    }

    fn room_deleted<'a>(&'a self, room: RoomRef<'a>) -> Answer<'a, ()> {
        Box::pin(async move { tell("room_deleted", async { self.hooks.room_deleted(&room).await }).await })
    }

    fn before_trigger<'a>(
        &'a self,
        who: &'a Actor,
        room: RoomRef<'a>,
        event: &'a str,
    ) -> Answer<'a, Result<(), Refusal>> {
        Box::pin(async move {
            decide("before_trigger", async { self.hooks.before_trigger(&visitor(who), &room, event).await })
                .await
        })
    }

    fn after_trigger<'a>(
        &'a self,
        who: &'a Actor,
        room: RoomRef<'a>,
        event: &'a str,
        accepted: &'a Accepted,
        recipients: usize,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let who = visitor(who);
            tell("after_trigger", async {
                self.hooks.after_trigger(&who, &room, event, accepted, recipients).await
            })
            .await;
        })
    }

    fn before_push<'a>(&'a self, user_id: &'a str, room: RoomRef<'a>) -> Answer<'a, Result<(), Refusal>> {
        Box::pin(async move {
            decide("before_push", async { self.hooks.before_push(user_id, &room).await }).await
        })
    }

    fn sees(&self, who: &Actor, room: RoomRef<'_>) -> bool {
        caught_now("sees", || self.hooks.sees(&visitor(who), &room)).unwrap_or(false)
    }
}

pub(crate) fn visitor<I>(actor: &Actor) -> Visitor<I> {
    Visitor { user: actor.user.clone(), client_id: actor.client_id.clone(), identity: PhantomData }
}

/// Asks a hook.
async fn decide(hook: &str, asked: impl Future<Output = Result<(), Refusal>>) -> Result<(), Refusal> {
    caught(hook, asked).await.unwrap_or_else(|| Err(Refusal::new(Code::Internal, "internal error")))
}

async fn tell(hook: &str, told: impl Future<Output = ()>) {
    let _ = caught(hook, told).await;
}
