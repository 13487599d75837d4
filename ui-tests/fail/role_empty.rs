#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(role = "")]
    chat: [Message] via [websocket];
}

fn main() {}
