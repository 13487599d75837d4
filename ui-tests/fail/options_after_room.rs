#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websocket] #[room(capacity = 3)];
}

fn main() {}
