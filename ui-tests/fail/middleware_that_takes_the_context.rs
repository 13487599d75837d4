use dialogue::{Cx, Flow, Middleware, Next};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

struct Quiet;
impl Middleware<Chat, Message> for Quiet {
    async fn handle(&self, _: Cx<Chat>, _: Message, _: impl Next<Chat, Message>) -> Flow {
        Err(dialogue::Refusal::blocked("no"))
    }
}

dialogue::rooms! {
    chat: [Message] via [websocket];
}

fn main() {}
