#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[derive(Default)]
struct Plain;

dialogue::rooms! {
    chat: [Message] via [websocket] with [Plain];
}

fn main() {}
