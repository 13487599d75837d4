#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event(from = server)]
pub struct Price(pub u64);

dialogue::rooms! {
    chat: [Message, Price] via [websocket];
}

async fn go(chat: ChatClient) {
    let _ = chat.send(Price(1)).await;
}

fn main() {}
