#[dialogue::event]
pub struct Message {
    pub text: String,
}

pub struct Pool;

struct Audit;
impl dialogue::middleware::FromState<Pool> for Audit {
    fn from_state(_: &Pool) -> Self {
        Audit
    }
}
impl<R: dialogue::Room, E: dialogue::Event> dialogue::Middleware<R, E> for Audit {
    async fn handle(&self, cx: &dialogue::Cx<R>, event: E, next: impl dialogue::Next<R, E>) -> dialogue::Flow {
        next.run(cx, event).await
    }
}

dialogue::rooms! {
    pub struct Acme;
    chat: [Message] via [websocket] with [Audit];
}

async fn serve() -> dialogue::Result<AcmeServer> {
    Acme::server().build().await
}

fn main() {}
