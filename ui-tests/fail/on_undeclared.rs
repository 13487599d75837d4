#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
pub struct Poke;

dialogue::rooms! {
    chat: [Message] via [websocket];
}

async fn go(server: RoomsServer) {
    server.chat().on(|poke: dialogue::Delivery<Poke>| async { drop(poke) });
}

fn main() {}
