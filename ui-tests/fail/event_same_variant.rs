#[dialogue::event]
pub struct Message {
    pub text: String,
}

mod v2 {
    #[dialogue::event(name = "message-2")]
    pub struct Message;
}

dialogue::rooms! {
    chat: [Message, v2::Message] via [websocket];
}

fn main() {}
