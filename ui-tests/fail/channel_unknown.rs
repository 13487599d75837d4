#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websokcet, sse];
}

async fn send(chat: ChatClient, message: Message) {
    let _ = chat.send(message).await;
}

fn main() {}
