#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(capasity = 50)]
    chat: [Message] via [websocket];
}

fn main() {}
