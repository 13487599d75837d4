//! Middleware, in both places and in each form.
use std::marker::PhantomData;

use dialogue::{Cx, Event, Flow, Gated, Middleware, Next, Room, Served};

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

dialogue::rooms! {
    plain: [Message, Poke] via [websocket];
    types: [Message, Poke] via [websocket] with [Any<u8>, Any<(u8, u16)>, self::Any<Vec<u8>>];
    calls: [Message, Poke] with [Any::<u8>::new("x"), self::Any::<u8>::new(NAME)] via [websocket];
    events: [Message with [Any<u8>, Any::<u16>::new("y")], Poke as Push with [OnlyPokes]] via [websocket];
    both: [Message, Poke with [OnlyPokes]] via [websocket] with [Any<u8>];
}

fn empty<R: Room, E, C: dialogue::Chain<R, E>>(_: &C) -> bool {
    C::EMPTY
}

#[test]
fn a_chain_is_there_where_it_was_listed() {
    fn has_chain<R: Served, E: Gated<R>>() -> bool {
        !empty::<R, E, _>(&E::chain(&R::with()))
    }
    assert!(!has_chain::<Plain, Message>());
    assert!(has_chain::<Types, Poke>());
    assert!(has_chain::<Calls, Message>());
    assert!(has_chain::<Events, Message>() && has_chain::<Events, Poke>());
    assert!(has_chain::<Both, Message>() && has_chain::<Both, Poke>());
}
