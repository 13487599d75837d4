#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websocket] with [async |_, _| Err(dialogue::Refusal::blocked("no"))];
}

fn main() {}
