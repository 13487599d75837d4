//! What is said to a server: a delivery is recognised the same way everywhere, by the record in its payload.

/// How rooms are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// PROTOCOL.md, version 1.
    Dialogue,
    /// `/sub/ROOM` receives what comes in at `/pub/ROOM`, as it is.
    Plain,
}

impl Dialect {
    /// Where a member of a room connects.
    pub(crate) fn member_path(self, room: usize) -> String {
        match self {
            Dialect::Dialogue => "/ws".to_owned(),
            Dialect::Plain => format!("/sub/{room}"),
        }
    }

    /// Where each publisher connects; which of them publishes to a room is its number modulo how many there are.
    pub(crate) fn publisher_paths(self, rooms: usize) -> Vec<String> {
        match self {
            Dialect::Dialogue => vec!["/ws".to_owned()],
            Dialect::Plain => (0..rooms).map(|room| format!("/pub/{room}")).collect(),
        }
    }

    /// What a member says first; each is answered with a frame that holds [`JOINED`](Self::JOINED).
    pub(crate) fn join(self, room: usize) -> Option<String> {
        self.joins(room, "")
    }

    /// What a publisher says first, for each of its rooms.
    pub(crate) fn join_to_publish(self, room: usize) -> Option<String> {
        self.joins(room, r#","events":[]"#)
    }

    pub(crate) const JOINED: &str = r#""type":"joined""#;

    /// The frame of one publish.
    pub(crate) fn publish(self, room: usize, payload: String) -> String {
        match self {
            Dialect::Dialogue => format!(
                r#"{{"type":"trigger","roomId":"project:{room}","event":"message","data":{{"text":"{payload}"}}}}"#
            ),
            Dialect::Plain => payload,
        }
    }

    fn joins(self, room: usize, more: &str) -> Option<String> {
        match self {
            Dialect::Dialogue => Some(format!(r#"{{"type":"join","id":1,"roomId":"project:{room}"{more}}}"#)),
            Dialect::Plain => None,
        }
    }
}
