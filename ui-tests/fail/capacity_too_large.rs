#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(capacity = 5_000_000_000)]
    chat: [Message] via [websocket];
}

fn main() {}
