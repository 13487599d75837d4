use dialogue::{Cx, Next};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

async fn quiet(cx: &Cx<Chat>, event: Message, next: impl Next<Chat, Message>) {
    let _ = next.run(cx, event).await;
}

dialogue::rooms! {
    chat: [Message] via [websocket] with [fn quiet];
}

fn main() {}
