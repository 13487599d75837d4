//! Hooks: the application's callbacks on connections, joins, events and pushes.
//!
//! An application implements [`Hooks`] and passes it to [`ServerBuilder::hooks`](crate::server::ServerBuilder::hooks).

use std::{fmt, future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use crate::{
    Code, Refusal,
    catch_panic::{catch_panic, catch_panic_sync},
    identity::User,
    wire::Accepted,
};

/// Callbacks by which an application decides on, and is notified of, connections, joins, events and pushes. `I` is the
/// identity of its [`Authenticator`](crate::Authenticator).
///
/// Every method has a default that does nothing and allows everything. A panic of a hook is logged, and fails with
/// `INTERNAL` the request that the hook was called for, if there is one; nothing else is affected. The hooks of one
/// connection are called one at a time, those of several connections concurrently.
///
/// ```
/// use dialogue::{Caller, Hooks, Refusal, RoomRef};
///
/// struct Doorkeeper;
///
/// impl<I: Send + Sync + 'static> Hooks<I> for Doorkeeper {
///     async fn before_join(&self, caller: &Caller<I>, room: &RoomRef<'_>) -> Result<(), Refusal> {
///         if room.name() == "vault" && !caller.has_role("keeper") {
///             return Err(Refusal::join_denied("only keepers may enter"));
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Hooks<I = ()>: Send + Sync + 'static {
    /// Is called when a WebSocket or SSE connection is identified, before its first frame is sent. A refusal closes it.
    ///
    /// # Errors
    ///
    /// The refusal that is sent to the client.
    fn connect(&self, caller: &Caller<I>) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = caller;
        async { Ok(()) }
    }

    /// Is called after a connection has ended and left its rooms: once for each `connect` that allowed it. `reason` is
    /// the cause, such as `the connection was lost`.
    fn disconnect(&self, caller: &Caller<I>, reason: &str) -> impl Future<Output = ()> + Send {
        let _ = (caller, reason);
        async {}
    }

    /// Decides whether a user may join a room. Is also called for each request to the room over HTTP.
    ///
    /// # Errors
    ///
    /// The refusal that is sent to the client, usually [`Refusal::join_denied`].
    fn before_join(
        &self,
        caller: &Caller<I>,
        room: &RoomRef<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (caller, room);
        async { Ok(()) }
    }

    /// Decides whether a user who may join a room instance may create it with an explicit request. A join also creates
    /// the instance, and does not call this.
    ///
    /// # Errors
    ///
    /// The refusal that is sent to the client, usually [`Refusal::denied`].
    fn before_create(
        &self,
        caller: &Caller<I>,
        room: &RoomRef<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (caller, room);
        async { Ok(()) }
    }

    /// Is called after a connection has joined a room that it was not in.
    fn joined(&self, caller: &Caller<I>, room: &RoomRef<'_>) -> impl Future<Output = ()> + Send {
        let _ = (caller, room);
        async {}
    }

    /// Is called after a connection has left a room, has ended, or was removed by the server: once for each `joined`.
    fn left(&self, caller: &Caller<I>, room: &RoomRef<'_>, reason: &str) -> impl Future<Output = ()> + Send {
        let _ = (caller, room, reason);
        async {}
    }

    /// Is called after an instance of a keyed room was created, by a user or by server code (`by` is `None`).
    fn room_created(&self, room: &RoomRef<'_>, by: Option<&str>) -> impl Future<Output = ()> + Send {
        let _ = (room, by);
        async {}
    }

    /// Is called after a room instance was deleted and all its members have left.
    fn room_deleted(&self, room: &RoomRef<'_>) -> impl Future<Output = ()> + Send {
        let _ = room;
        async {}
    }

    /// Is called before a user's event is decoded and passed to its middleware.
    ///
    /// # Errors
    ///
    /// The refusal that is sent to the sender, usually [`Refusal::blocked`].
    fn before_trigger(
        &self,
        caller: &Caller<I>,
        room: &RoomRef<'_>,
        event: &str,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (caller, room, event);
        async { Ok(()) }
    }

    /// Is called after a user's event was accepted. `recipients` is the number of subscriptions on this node that it
    /// was handed to.
    fn after_trigger(
        &self,
        caller: &Caller<I>,
        room: &RoomRef<'_>,
        event: &str,
        accepted: &Accepted,
        recipients: usize,
    ) -> impl Future<Output = ()> + Send {
        let _ = (caller, room, event, accepted, recipients);
        async {}
    }

    /// Decides whether a user's device still gets a room's notifications. Is called before each push to each device,
    /// while the user's token is not at hand, so that the application has to look the user up; `before_join` was called
    /// when the device registered.
    ///
    /// The calls are frequent: a room with many devices makes many at once. The timeout is 1 s, after which the call
    /// counts as failed. They run on the thread that sends pushes: code that blocks delays all pushes, and belongs in
    /// `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`] if it can't be decided now: the push is retried later. Any other refusal, usually
    /// [`Refusal::join_denied`], removes the device from the room: it gets no more of the room's notifications until it
    /// registers for them again, which calls `before_join`.
    fn before_push(
        &self,
        user_id: &str,
        room: &RoomRef<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send {
        let _ = (user_id, room);
        async { Ok(()) }
    }

    /// Returns whether a room is visible to a user, in room lists and while watching them. Is not called for rooms that
    /// need a role which the user lacks. A panic counts as `false`.
    fn sees(&self, caller: &Caller<I>, room: &RoomRef<'_>) -> bool {
        let _ = (caller, room);
        true
    }
}

/// The user on whose behalf a hook is called: on a connection, or over HTTP.
pub struct Caller<I> {
    user: User,
    client_id: Option<Arc<str>>,
    identity: PhantomData<fn() -> I>,
}

impl<I: Send + Sync + 'static> Caller<I> {
    /// Returns the user's public id.
    pub fn user_id(&self) -> &str {
        &self.user.id
    }

    /// Returns the connection's public id; `None` over HTTP.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Returns the identity that the authenticator returned; `None` for an anonymous user.
    pub fn identity(&self) -> Option<&I> {
        self.user.authenticated.as_ref().and_then(|authenticated| authenticated.identity.downcast_ref())
    }

    /// Returns whether the user has the role.
    pub fn has_role(&self, role: &str) -> bool {
        self.user.has_role(role)
    }
}

impl<I> fmt::Debug for Caller<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("user_id", &self.user.id).finish_non_exhaustive()
    }
}

/// A reference to a room instance.
#[derive(Debug, Clone, Copy)]
pub struct RoomRef<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'static str,
}

impl<'a> RoomRef<'a> {
    /// Returns the id of the room instance, as on the wire: `chat`, `project:42`.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// Returns the declared name: `project`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the text of the key: `42`. `None` for a room without a key.
    pub fn key(&self) -> Option<&'a str> {
        self.id.split_once(':').map(|(_, key)| key)
    }
}

/// The caller without the type of the authenticator's identity.
#[derive(Debug, Clone)]
pub(crate) struct UntypedCaller {
    pub(crate) user: User,
    pub(crate) client_id: Option<Arc<str>>,
}

type HookFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Object-safe [`Hooks`], without the identity's type. Each call allocates a boxed future, which is paid once per join
/// or event, and only by applications with hooks.
pub(crate) trait AnyHooks: Send + Sync {
    fn connect<'a>(&'a self, caller: &'a UntypedCaller) -> HookFuture<'a, Result<(), Refusal>>;
    fn disconnect<'a>(&'a self, caller: &'a UntypedCaller, reason: &'a str) -> HookFuture<'a, ()>;
    fn before_join<'a>(
        &'a self,
        caller: &'a UntypedCaller,
        room: RoomRef<'a>,
    ) -> HookFuture<'a, Result<(), Refusal>>;
    fn before_create<'a>(
        &'a self,
        caller: &'a UntypedCaller,
        room: RoomRef<'a>,
    ) -> HookFuture<'a, Result<(), Refusal>>;
    fn joined<'a>(&'a self, caller: &'a UntypedCaller, room: RoomRef<'a>) -> HookFuture<'a, ()>;
    fn left<'a>(
        &'a self,
        caller: &'a UntypedCaller,
        room: RoomRef<'a>,
        reason: &'a str,
    ) -> HookFuture<'a, ()>;
    fn room_created<'a>(&'a self, room: RoomRef<'a>, by: Option<&'a str>) -> HookFuture<'a, ()>;
    fn room_deleted<'a>(&'a self, room: RoomRef<'a>) -> HookFuture<'a, ()>;
    fn before_trigger<'a>(
        &'a self,
        caller: &'a UntypedCaller,
        room: RoomRef<'a>,
        event: &'a str,
    ) -> HookFuture<'a, Result<(), Refusal>>;
    fn after_trigger<'a>(
        &'a self,
        caller: &'a UntypedCaller,
        room: RoomRef<'a>,
        event: &'a str,
        accepted: &'a Accepted,
        recipients: usize,
    ) -> HookFuture<'a, ()>;
    fn before_push<'a>(&'a self, user_id: &'a str, room: RoomRef<'a>) -> HookFuture<'a, Result<(), Refusal>>;
    fn sees(&self, caller: &UntypedCaller, room: RoomRef<'_>) -> bool;
}

/// Hooks with the identity's type: the implementation of [`AnyHooks`].
pub(crate) struct TypedHooks<H, I> {
    hooks: H,
    identity: PhantomData<fn() -> I>,
}

impl<I: Send + Sync + 'static, H: Hooks<I>> TypedHooks<H, I> {
    pub(crate) fn new(hooks: H) -> Self {
        TypedHooks { hooks, identity: PhantomData }
    }
}

impl<I: Send + Sync + 'static, H: Hooks<I>> AnyHooks for TypedHooks<H, I> {
    fn connect<'a>(&'a self, caller: &'a UntypedCaller) -> HookFuture<'a, Result<(), Refusal>> {
        Box::pin(
            async move { decide("connect", async { self.hooks.connect(&typed_caller(caller)).await }).await },
        )
    }

    fn disconnect<'a>(&'a self, caller: &'a UntypedCaller, reason: &'a str) -> HookFuture<'a, ()> {
        Box::pin(async move {
            notify("disconnect", async { self.hooks.disconnect(&typed_caller(caller), reason).await }).await
        })
    }

    fn before_join<'a>(
        &'a self,
        caller: &'a UntypedCaller,
        room: RoomRef<'a>,
    ) -> HookFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            decide("before_join", async { self.hooks.before_join(&typed_caller(caller), &room).await }).await
        })
    }

    fn before_create<'a>(
        &'a self,
        caller: &'a UntypedCaller,
        room: RoomRef<'a>,
    ) -> HookFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            decide("before_create", async { self.hooks.before_create(&typed_caller(caller), &room).await })
                .await
        })
    }

    fn joined<'a>(&'a self, caller: &'a UntypedCaller, room: RoomRef<'a>) -> HookFuture<'a, ()> {
        Box::pin(async move {
            notify("joined", async { self.hooks.joined(&typed_caller(caller), &room).await }).await
        })
    }

    fn left<'a>(
        &'a self,
        caller: &'a UntypedCaller,
        room: RoomRef<'a>,
        reason: &'a str,
    ) -> HookFuture<'a, ()> {
        Box::pin(async move {
            notify("left", async { self.hooks.left(&typed_caller(caller), &room, reason).await }).await
        })
    }

    fn room_created<'a>(&'a self, room: RoomRef<'a>, by: Option<&'a str>) -> HookFuture<'a, ()> {
        Box::pin(
            async move { notify("room_created", async { self.hooks.room_created(&room, by).await }).await },
        )
    }

    fn room_deleted<'a>(&'a self, room: RoomRef<'a>) -> HookFuture<'a, ()> {
        Box::pin(async move { notify("room_deleted", async { self.hooks.room_deleted(&room).await }).await })
    }

    fn before_trigger<'a>(
        &'a self,
        caller: &'a UntypedCaller,
        room: RoomRef<'a>,
        event: &'a str,
    ) -> HookFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            decide("before_trigger", async {
                self.hooks.before_trigger(&typed_caller(caller), &room, event).await
            })
            .await
        })
    }

    fn after_trigger<'a>(
        &'a self,
        caller: &'a UntypedCaller,
        room: RoomRef<'a>,
        event: &'a str,
        accepted: &'a Accepted,
        recipients: usize,
    ) -> HookFuture<'a, ()> {
        Box::pin(async move {
            let caller = typed_caller(caller);
            notify("after_trigger", async {
                self.hooks.after_trigger(&caller, &room, event, accepted, recipients).await
            })
            .await;
        })
    }

    fn before_push<'a>(&'a self, user_id: &'a str, room: RoomRef<'a>) -> HookFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            decide("before_push", async { self.hooks.before_push(user_id, &room).await }).await
        })
    }

    fn sees(&self, caller: &UntypedCaller, room: RoomRef<'_>) -> bool {
        catch_panic_sync("sees", || self.hooks.sees(&typed_caller(caller), &room)).unwrap_or(false)
    }
}

/// Returns the caller with the type of the authenticator's identity.
pub(crate) fn typed_caller<I>(caller: &UntypedCaller) -> Caller<I> {
    Caller { user: caller.user.clone(), client_id: caller.client_id.clone(), identity: PhantomData }
}

/// Calls a hook that decides on a request.
async fn decide(hook: &str, call: impl Future<Output = Result<(), Refusal>>) -> Result<(), Refusal> {
    catch_panic(hook, call).await.unwrap_or_else(|| Err(Refusal::new(Code::Internal, "internal error")))
}

/// Calls a hook that is notified of something.
async fn notify(hook: &str, call: impl Future<Output = ()>) {
    let _ = catch_panic(hook, call).await;
}
