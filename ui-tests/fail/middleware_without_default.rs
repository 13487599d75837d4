#[dialogue::event]
pub struct Message {
    pub text: String,
}

struct Quiet;
impl<R: dialogue::Room> dialogue::Middleware<R, Message> for Quiet {
    async fn handle(&self, cx: &dialogue::Cx<R>, event: Message, next: impl dialogue::Next<R, Message>) -> dialogue::Flow {
        next.run(cx, event).await
    }
}

dialogue::rooms! {
    pub struct Acme;
    chat: [Message] via [websocket] with [Quiet];
}

async fn serve() -> dialogue::Result<AcmeServer> {
    Acme::server().build().await
}

fn main() {}
