#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(capacity = "fifty")]
    chat: [Message] via [websocket];
}

fn main() {}
