//! The identity that a room requires of its callers, and its conversion from the authenticator's.

use std::{any::Any, fmt, sync::Arc};

use super::User;
use crate::Refusal;

/// An authenticator's identity that can be converted to the identity `T`. Every identity provides itself; an
/// application implements other conversions.
///
/// A room that declares `#[room(identity = T)]` admits only users whose identity provides a `T`. A server with such a
/// room can only be built with an authenticator whose [`Identity`](crate::Authenticator::Identity) implements this
/// trait.
///
/// ```
/// use dialogue::{Cx, Flow, Middleware, Next, Refusal, identity::Provides};
///
/// /// The claims of a token.
/// #[derive(Debug, Clone)]
/// pub struct Claims { pub team: Option<String> }
///
/// /// A user who is in a team.
/// #[derive(Debug, Clone)]
/// pub struct Member { pub team: String }
///
/// impl Provides<Member> for Claims {
///     fn provide(&self) -> Option<Member> {
///         self.team.clone().map(|team| Member { team })
///     }
/// }
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// dialogue::rooms! {
///     #[room(identity = Member)]
///     lounge: [Message] via [websocket] with [Signed];
/// }
///
/// /// Appends the name of the sender's team to the text.
/// #[derive(Default)]
/// pub struct Signed;
///
/// impl Middleware<Lounge, Message> for Signed {
///     async fn handle(&self, cx: &Cx<Lounge>, mut event: Message, next: impl Next<Lounge, Message>) -> Flow {
///         if let Some(member) = cx.identity() {
///             event.text = format!("{} ({})", event.text, member.team);
///         }
///         next.run(cx, event).await
///     }
/// }
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "no authenticator provides `{T}`, which a room requires",
    label = "callers of this server are known as `{Self}`",
    note = "name an authenticator whose `Identity` is `{T}`: `.auth(..)`; without one, callers are known as `()`",
    note = "or implement the conversion from the authenticator's identity: `impl dialogue::identity::Provides<{T}> for {Self}`"
)]
pub trait Provides<T>: Send + Sync + 'static {
    /// Returns the user's `T`; `None` for a user who has none, whose join is then refused.
    ///
    /// Is called for each join, and for each event that passes middleware: it should be cheap, and must not block.
    fn provide(&self) -> Option<T>;
}

#[diagnostic::do_not_recommend]
impl<I: Clone + Send + Sync + 'static> Provides<I> for I {
    fn provide(&self) -> Option<I> {
        Some(self.clone())
    }
}

/// The identity of a room that requires none. It has no values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoIdentity {}

/// The identity that a room requires of its callers, if any, as a function without types.
#[derive(Clone, Copy)]
pub struct IdentityRequirement(Option<Requirement>);

#[derive(Clone, Copy)]
struct Requirement {
    name: &'static str,
    provide: fn(&AnyIdentity) -> Option<AnyIdentity>,
}

/// An identity without its type.
pub(crate) type AnyIdentity = Arc<dyn Any + Send + Sync>;

impl IdentityRequirement {
    /// No required identity.
    pub const NONE: Self = IdentityRequirement(None);

    /// Requires a `T` of callers whose identity is an `I`. `name` is the name of `T` in refusals.
    pub const fn of<I: Provides<T>, T: Send + Sync + 'static>(name: &'static str) -> Self {
        IdentityRequirement(Some(Requirement { name, provide: provide::<I, T> }))
    }

    /// Returns the identity that `room` requires of a user; `None` if it requires none.
    ///
    /// # Errors
    ///
    /// `JOIN_DENIED` if the user doesn't provide it.
    pub(crate) fn identity_of(&self, user: &User, room: &str) -> Result<Option<AnyIdentity>, Refusal> {
        let Some(Requirement { name, provide }) = self.0 else { return Ok(None) };
        let identity = user.authenticated.as_ref().and_then(|user| provide(&user.identity));
        identity
            .map(Some)
            .ok_or_else(|| Refusal::join_denied(format!("room `{room}` is for a `{name}` only")))
    }
}

fn provide<I: Provides<T>, T: Send + Sync + 'static>(identity: &AnyIdentity) -> Option<AnyIdentity> {
    // Usually `T` is the authenticator's identity itself, which is shared instead of cloned.
    match identity.is::<T>() {
        true => Some(Arc::clone(identity)),
        false => identity.downcast_ref::<I>()?.provide().map(|made| Arc::new(made) as AnyIdentity),
    }
}

impl fmt::Debug for IdentityRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdentityRequirement").field(&self.0.map(|requirement| requirement.name)).finish()
    }
}

/// A shared reference to the typed identity of a user: see [`Cx::identity_as`](crate::Cx::identity_as).
#[derive(Debug, Clone)]
pub struct IdentityRef<T>(Arc<T>);

impl<T> IdentityRef<T> {
    pub(crate) fn new(identity: Arc<T>) -> Self {
        IdentityRef(identity)
    }
}

impl<T> std::ops::Deref for IdentityRef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
