#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(limit = 10 par 1s)]
    chat: [Message] via [websocket];
}

fn main() {}
