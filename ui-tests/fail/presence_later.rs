#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(presence)]
    chat: [Message] via [websocket];
}

fn main() {}
