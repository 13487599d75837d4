#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(capacity = 3)]
    pub struct Acme;
    chat: [Message] via [websocket];
}

fn main() {}
