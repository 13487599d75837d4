use dialogue::{Cx, Flow, Next};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

fn quiet(_: &Cx<Chat>, _: Message, _: impl Next<Chat, Message>) -> Flow {
    Err(dialogue::Refusal::blocked("no"))
}

dialogue::rooms! {
    chat: [Message] via [websocket] with [fn quiet];
}

fn main() {}
