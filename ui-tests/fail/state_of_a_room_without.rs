#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websocket];
}

async fn look(server: &RoomsServer) {
    let _ = server.chat().state().await;
}

fn main() {}
