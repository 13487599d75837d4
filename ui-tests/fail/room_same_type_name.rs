#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    lobby_chat: [Message] via [websocket];
    lobbyChat: [Message] via [websocket];
}

fn main() {}
