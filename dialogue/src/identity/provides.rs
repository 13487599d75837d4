//! What a room asks of its callers' identities, and which identities have it.

use std::{any::Any, fmt, sync::Arc};

use super::User;
use crate::Refusal;

/// An identity that a `T` can be had from: itself, or what the application makes of it.
///
/// A room that declares `#[room(identity = T)]` lets in only users of whom there is a `T`; a server with such a room can
/// only be built with an authenticator whose [`Identity`](crate::Authenticator::Identity) provides it.
///
/// ```
/// use dialogue::{Cx, Flow, Middleware, Next, Provides, Refusal};
///
/// /// What the tokens say.
/// #[derive(Debug, Clone)]
/// pub struct Claims { pub team: Option<String> }
///
/// /// Somebody who is in a team.
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
/// /// Says for which team somebody speaks.
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
    note = "or say how a `{T}` is had from what the authenticator tells: `impl dialogue::Provides<{T}> for {Self}`"
)]
pub trait Provides<T>: Send + Sync + 'static {
    /// The `T` of this user; `None` for one who has none, and so isn't let in.
    ///
    /// Asked when they join, and again for each event that meets middleware, so that it is to be cheap and must not wait.
    fn provide(&self) -> Option<T>;
}

#[diagnostic::do_not_recommend]
impl<I: Clone + Send + Sync + 'static> Provides<I> for I {
    fn provide(&self) -> Option<I> {
        Some(self.clone())
    }
}

/// The identity of a room that asks for none: there is no value of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anybody {}

/// What one room asks of its callers.
#[derive(Clone, Copy)]
pub struct Asked(Option<Ask>);

#[derive(Clone, Copy)]
struct Ask {
    name: &'static str,
    provide: fn(&Shared) -> Option<Shared>,
}

/// An identity without its type.
pub(crate) type Shared = Arc<dyn Any + Send + Sync>;

impl Asked {
    /// Nothing.
    pub const NOTHING: Self = Asked(None);

    /// A `T`, called `name` where somebody is told that they are none; callers are known as `I`.
    pub const fn of<I: Provides<T>, T: Send + Sync + 'static>(name: &'static str) -> Self {
        Asked(Some(Ask { name, provide: provide::<I, T> }))
    }

    /// The identity that `room` asks for; `None` where it asks for none.
    pub(crate) fn of_user(&self, user: &User, room: &str) -> Result<Option<Shared>, Refusal> {
        let Some(Ask { name, provide }) = self.0 else { return Ok(None) };
        let identity = user.known.as_ref().and_then(|known| provide(&known.identity));
        identity
            .map(Some)
            .ok_or_else(|| Refusal::join_denied(format!("room `{room}` is for a `{name}` only")))
    }
}

fn provide<I: Provides<T>, T: Send + Sync + 'static>(identity: &Shared) -> Option<Shared> {
    // Of most, it is what the authenticator told: shared then, instead of cloned.
    match identity.is::<T>() {
        true => Some(Arc::clone(identity)),
        false => identity.downcast_ref::<I>()?.provide().map(|made| Arc::new(made) as Shared),
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asked").field(&self.0.map(|ask| ask.name)).finish()
    }
}
