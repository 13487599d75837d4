use dialogue::{Cx, Flow};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

async fn quiet(_: &Cx<Chat>, _: Message) -> Flow {
    Err(dialogue::Refusal::blocked("no"))
}

dialogue::rooms! {
    chat: [Message] via [websocket] with [fn quiet];
}

fn main() {}
