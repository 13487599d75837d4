//! A package that depends on `dialogue` alone, and by another name.

/// Found by the name in Cargo.toml.
#[rt::event(latest = text)]
#[derive(Debug)]
pub struct Message {
    /// What is said.
    #[validate(length(min = 1))]
    pub text: String,
}

/// Found by the option.
#[rt::event(crate = rt)]
#[derive(Debug)]
pub struct Poke;

rt::rooms! {
    /// The rooms.
    pub struct Rooms;
    chat: [Message, Poke] via [websocket, sse];
}
