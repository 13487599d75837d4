#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(state = Message)]
    chat: [Message] via [websocket];
}

fn main() {}
