#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event(name = "message")]
pub struct Text(pub String);

dialogue::rooms! {
    chat: [Message, Text] via [websocket];
}

fn main() {}
