#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(limit = 10 per 1s burst 20)]
    chat: [Message] via [websocket];
}

fn main() {}
