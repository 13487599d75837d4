#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(capacity = 0)]
    chat: [Message] via [websocket];
}

fn main() {}
