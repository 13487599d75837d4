#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
pub struct Poke;

dialogue::rooms! {
    chat: [Message] via [websocket];
}

async fn go(chat: ChatClient) {
    let _ = chat.send(Poke).await;
}

fn main() {}
