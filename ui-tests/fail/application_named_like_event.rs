#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    pub struct Message;
    chat: [Message] via [websocket];
}

fn main() {}
