#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message { text: String }] via [websocket];
}

fn main() {}
