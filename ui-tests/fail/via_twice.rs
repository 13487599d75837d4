#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websocket] via [sse];
}

fn main() {}
