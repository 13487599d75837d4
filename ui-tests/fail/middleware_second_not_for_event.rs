#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[derive(Default)]
struct Plain;

#[derive(Default)]
struct Quiet;
impl<R: dialogue::Room> dialogue::Middleware<R, Message> for Quiet {
    async fn handle(&self, cx: &dialogue::Cx<R>, event: Message, next: impl dialogue::Next<R, Message>) -> dialogue::Flow {
        next.run(cx, event).await
    }
}

dialogue::rooms! {
    chat: [Message] via [websocket] with [Quiet, Plain];
}

fn main() {}
