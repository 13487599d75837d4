#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(capacity = 50, capacity = 60)]
    chat: [Message] via [websocket];
}

fn main() {}
