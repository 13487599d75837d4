#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
pub struct Poke;

dialogue::rooms! {
    chat: [Message] via [websocket];
    pokes: [Poke] via [websocket];
}

async fn go(server: RoomsServer) {
    let _ = server.chat().trigger(Poke).await;
}

fn main() {}
