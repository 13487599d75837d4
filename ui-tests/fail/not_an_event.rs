#[dialogue::event]
pub struct Message {
    pub text: String,
}

pub struct Plain;

dialogue::rooms! {
    chat: [Message, Plain] via [websocket];
}

fn main() {}
