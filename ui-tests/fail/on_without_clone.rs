#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websocket];
}

async fn go(server: RoomsServer) {
    let seen = std::sync::Mutex::new(0);
    server.chat().on(async move |_: dialogue::Delivery<Message>| *seen.lock().unwrap() += 1);
}

fn main() {}
