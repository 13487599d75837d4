//! Middleware, in both places and in each form.
use std::marker::PhantomData;

use dialogue::{
    __private::MiddlewareFromState, Cx, Event, Flow, Middleware, Next, Refusal, Room, middleware::FromState,
    room::EventOf,
};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
pub struct Poke;

pub struct Any<T>(&'static str, PhantomData<T>);

impl<T> Any<T> {
    pub fn new(name: &'static str) -> Self {
        Any(name, PhantomData)
    }

    pub fn renamed(self, name: &'static str) -> Self {
        Any(name, self.1)
    }
}

impl<T> Default for Any<T> {
    fn default() -> Self {
        Any::new("default")
    }
}

impl<T: Send + Sync + 'static, R: Room, E: Event> Middleware<R, E> for Any<T> {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        let _ = self.0;
        next.run(cx, event).await
    }
}

#[derive(Default)]
pub struct OnlyPokes;

impl<R: Room> Middleware<R, Poke> for OnlyPokes {
    async fn handle(&self, cx: &Cx<R>, event: Poke, next: impl Next<R, Poke>) -> Flow {
        next.run(cx, event).await
    }
}

const NAME: &str = "constant";

/// Made as literals are.
mod shouts {
    pub struct Loud<T>(pub T, pub &'static str);
}

enum Mode {
    Strict(u8),
}

struct Bounded {
    limit: u8,
}

impl<R: Room, E: Event, T: Send + Sync + 'static> Middleware<R, E> for shouts::Loud<T> {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        let _ = (&self.0, self.1);
        next.run(cx, event).await
    }
}

impl<R: Room, E: Event> Middleware<R, E> for Mode {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        let Mode::Strict(_) = self;
        next.run(cx, event).await
    }
}

impl<R: Room, E: Event> Middleware<R, E> for Bounded {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        let _ = self.limit;
        next.run(cx, event).await
    }
}

dialogue::rooms! {
    plain: [Message, Poke] via [websocket];
    types: [Message, Poke] via [websocket] with [Any<u8>, Any<(u8, u16)>, self::Any<Vec<u8>>];
    calls: [Message, Poke] with [Any::<u8>::new("x"), self::Any::<u8>::new(NAME)] via [websocket];
    events: [Message with [Any<u8>, Any::<u16>::new("y")], Poke as Push with [OnlyPokes]] via [websocket];
    both: [Message, Poke with [OnlyPokes]] via [websocket] with [Any<u8>];
    literals: [Message with [shouts::Loud::<u8>(7, "loud"), Mode::Strict(1)]] via [websocket] with [Bounded { limit: 3 }];
    methods: [Message] via [websocket] with [Any::<u8>::new("x").renamed("y")];
    functions: [Message with [fn quiet], Poke] via [websocket] with [fn all, fn self::all];
    closures: [
        Message with [async |cx, event, next| match event.text.is_empty() {
            true => Err(Refusal::blocked("say something")),
            false => next.run(cx, event).await,
        }],
        Poke,
    ] via [websocket] with [|cx, event, next| async move { next.run(cx, event).await }];
}

/// What the parts of an application share.
pub struct Shared(&'static str);

/// Made from what they share.
pub struct FromShared(&'static str);

impl FromState<Shared> for FromShared {
    fn from_state(state: &Shared) -> Self {
        FromShared(state.0)
    }
}

impl<R: Room, E: Event> Middleware<R, E> for FromShared {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        let _ = self.0;
        next.run(cx, event).await
    }
}

mod with_state {
    use super::{Any, FromShared, Message};
    dialogue::rooms! {
        pub(super) struct Acme;
        chat: [Message with [FromShared]] via [websocket] with [Any<u8>, FromShared];
    }
}

async fn all<R: Room, E: Event>(cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
    next.run(cx, event).await
}

async fn quiet(cx: &Cx<Functions>, event: Message, next: impl Next<Functions, Message>) -> Flow {
    if event.text.ends_with('!') {
        return Err(Refusal::blocked("no shouting"));
    }
    next.run(cx, event).await
}

fn empty<R: Room, E, C: dialogue::middleware::MiddlewareStack<R, E>>(_: &C) -> bool {
    C::IS_EMPTY
}

#[test]
fn a_chain_is_there_where_it_was_listed() {
    fn has_chain<R: MiddlewareFromState<()>, E: EventOf<R>>() -> bool {
        !empty::<R, E, _>(&E::middleware_stack(&R::middleware_from_state(&())))
    }
    assert!(!has_chain::<Plain, Message>());
    assert!(has_chain::<Types, Poke>());
    assert!(has_chain::<Calls, Message>());
    assert!(has_chain::<Events, Message>() && has_chain::<Events, Poke>());
    assert!(has_chain::<Both, Message>() && has_chain::<Both, Poke>());
    assert!(
        has_chain::<Methods, Message>() && has_chain::<Functions, Poke>() && has_chain::<Closures, Poke>()
    );
}

#[test]
fn a_server_is_built_with_any_of_them() {
    drop(Rooms::server().middleware(Any::<u8>::default()).middleware(Any::<u16>::new("z")).build());
    drop(with_state::Acme::server().state(Shared("x")).middleware(FromShared("y")).build());
}
