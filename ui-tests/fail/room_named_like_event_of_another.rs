#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
pub struct Poke;

dialogue::rooms! {
    chat: [Message] via [websocket];
    message: [Poke] via [websocket];
}

fn main() {}
