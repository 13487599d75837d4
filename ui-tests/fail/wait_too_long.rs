#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(wait = 5m)]
    chat: [Message] via [websocket];
}

fn main() {}
