#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(retain(event = 10))]
    chat: [Message] via [websocket];
}

fn main() {}
