#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Board;

dialogue::rooms! {
    #[room(state = Board)]
    chat: [Message] via [websocket];
}

fn main() {}
