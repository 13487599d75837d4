//! A package that calls `dialogue` something else needs no more than that: see `renamed/`.
use dialogue::Event;
use dialogue_ui_tests_renamed::{Message, Rooms};

dialogue::rooms! { struct Ours; chat: [Message, dialogue_ui_tests_renamed::Poke] via [websocket] }

#[test]
fn its_events_and_rooms_are_ours() {
    assert_eq!(Message::NAME, "message");
    let _ = (Rooms::server(), Ours::server());
}
