//! Rooms with a key.
use std::{fmt, str::FromStr};

use dialogue::{Room, room::Key};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[derive(Debug, PartialEq)]
pub struct ProjectId(pub u64);

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ProjectId {
    type Err = <u64 as FromStr>::Err;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(ProjectId)
    }
}

dialogue::rooms! {
    project(ProjectId): [Message] via [websocket];
    user(String): [Message] via [websocket];
    number(std::num::NonZero<u64>): [Message] via [websocket];
    lobby: [Message] via [websocket];
}

#[test]
fn a_key_is_its_text() {
    assert_eq!(<Project as Room>::Key::from_text(Some("7")), Some(ProjectId(7)));
    assert_eq!(<Project as Room>::Key::from_text(Some("07")), None);
    let _: fn(&RoomsServer, ProjectId) -> dialogue::RoomHandle<Project> = RoomsServer::project;
    let _: fn(&RoomsClient, String) -> dialogue::client::JoinRoom<User> = RoomsClient::user;
    let _: fn(&RoomsServer) -> dialogue::RoomHandle<Lobby> = RoomsServer::lobby;
}
