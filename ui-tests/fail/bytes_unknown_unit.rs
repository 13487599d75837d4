#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(retain(bytes = 64KB))]
    chat: [Message] via [websocket];
}

fn main() {}
