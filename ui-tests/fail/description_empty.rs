#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(description = "")]
    chat: [Message] via [websocket];
}

fn main() {}
