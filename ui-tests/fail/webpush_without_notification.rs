#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [webpush, websocket];
}

fn main() {}
