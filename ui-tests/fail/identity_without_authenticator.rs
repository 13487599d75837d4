#[derive(Debug, Clone)]
pub struct Member;

#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    pub struct Acme;

    #[room(identity = Member)]
    lounge: [Message] via [websocket];
}

async fn serve() -> dialogue::Result<AcmeServer> {
    Acme::server().build().await
}

fn main() {}
