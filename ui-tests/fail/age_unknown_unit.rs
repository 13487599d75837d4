#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(retain(age = 7days))]
    chat: [Message] via [websocket];
}

fn main() {}
