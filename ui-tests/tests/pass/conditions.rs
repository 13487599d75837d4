//! `#[cfg]` on rooms, and other attributes.

#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    pub struct Acme;

    #[cfg(all())]
    chat: [Message] via [websocket];

    #[cfg(any())]
    chat: [Missing] via [sse];

    /// On its way out.
    #[deprecated(note = "use `chat`")]
    #[allow(clippy::doc_markdown)]
    old: [Message] via [websocket];
}

#[test]
fn only_what_is_asked_for_is_there() {
    let rooms = <Acme as dialogue::__private::Serves<(), ()>>::ROOMS;
    assert_eq!(rooms.iter().copied().flatten().count(), 2);
    let _: fn(&AcmeServer) -> dialogue::RoomHandle<Chat> = AcmeServer::chat;
}
