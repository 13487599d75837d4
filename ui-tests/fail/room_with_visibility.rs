#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    pub chat: [Message] via [websocket];
}

fn main() {}
