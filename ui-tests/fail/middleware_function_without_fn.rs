use dialogue::{Cx, Flow, Next};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

async fn quiet(cx: &Cx<Chat>, event: Message, next: impl Next<Chat, Message>) -> Flow {
    next.run(cx, event).await
}

dialogue::rooms! {
    chat: [Message] via [websocket] with [quiet];
}

fn main() {}
