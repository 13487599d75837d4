use dialogue::{Flow, Middleware};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

struct Quiet;
impl Middleware<Chat, Message> for Quiet {
    async fn handle(&self, _: Message) -> Flow {
        Err(dialogue::Refusal::blocked("no"))
    }
}

dialogue::rooms! {
    chat: [Message] via [websocket];
}

fn main() {}
