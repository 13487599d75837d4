#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(retain(events = 20), sync = 50)]
    chat: [Message] via [websocket];
}

fn main() {}
