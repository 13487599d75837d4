#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(retain())]
    chat: [Message] via [websocket];
}

fn main() {}
