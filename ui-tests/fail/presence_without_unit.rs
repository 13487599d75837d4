#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(presence = 5)]
    chat: [Message] via [websocket];
}

fn main() {}
