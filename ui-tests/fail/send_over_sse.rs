#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [sse];
}

async fn go(chat: ChatClient) {
    let _ = chat.send(Message { text: String::new() }).await;
}

fn main() {}
