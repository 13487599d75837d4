#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(retain(forever, age = 7d))]
    chat: [Message] via [websocket];
}

fn main() {}
