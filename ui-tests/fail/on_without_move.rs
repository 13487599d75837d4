#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websocket];
}

async fn go(server: RoomsServer) {
    let other = server.clone();
    server.chat().on(async |message: dialogue::Delivery<Message>| {
        let _ = other.chat().trigger(message.event).await;
    });
}

fn main() {}
