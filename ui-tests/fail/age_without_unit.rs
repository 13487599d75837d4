#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(retain(age = 7))]
    chat: [Message] via [websocket];
}

fn main() {}
