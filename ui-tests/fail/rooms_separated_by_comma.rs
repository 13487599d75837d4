#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websocket],
    feed: [Message] via [sse];
}

fn main() {}
