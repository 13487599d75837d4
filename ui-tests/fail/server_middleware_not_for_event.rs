#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
pub struct Poke;

struct Quiet;
impl<R: dialogue::Room> dialogue::Middleware<R, Message> for Quiet {
    async fn handle(&self, cx: &dialogue::Cx<R>, event: Message, next: impl dialogue::Next<R, Message>) -> dialogue::Flow {
        next.run(cx, event).await
    }
}

dialogue::rooms! {
    pub struct Acme;
    chat: [Message, Poke] via [websocket];
}

async fn serve() -> dialogue::Result<AcmeServer> {
    Acme::server().middleware(Quiet).build().await
}

fn main() {}
