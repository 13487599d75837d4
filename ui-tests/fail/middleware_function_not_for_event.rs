use dialogue::{Cx, Flow, Next};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
pub struct Poke;

async fn quiet(cx: &Cx<Chat>, event: Message, next: impl Next<Chat, Message>) -> Flow {
    next.run(cx, event).await
}

dialogue::rooms! {
    chat: [Message, Poke] via [websocket] with [fn quiet];
}

fn main() {}
