#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    lobby-chat: [Message] via [websocket];
}

fn main() {}
