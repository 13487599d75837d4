//! The application that runs in a simulated deployment.

#[dialogue::event]
pub(super) struct Message {
    text: String,
}

#[dialogue::event(ephemeral)]
pub(super) struct Typing {
    text: String,
}

dialogue::rooms! {
    pub(super) struct Acme;

    #[room(presence)]
    chat: [Message, Typing] via [websocket];

    // As `RETAINED`.
    #[room(retain(events = 40))]
    project(u64): [Message] via [websocket];
}

/// The rooms that clients are in.
pub(super) const ROOMS: [&str; 2] = ["chat", DELETED_ROOM];
/// The one that is deleted now and then.
pub(super) const DELETED_ROOM: &str = "project:1";
/// The number of events that its log keeps.
pub(super) const RETAINED: u64 = 40;
/// The number of events that the other one keeps, which is the default.
pub(super) const CHAT_RETAINED: u64 = 1_000;
