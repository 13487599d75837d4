#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room]
    chat: [Message] via [websocket];
}

fn main() {}
