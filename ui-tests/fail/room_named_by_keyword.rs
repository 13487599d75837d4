#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    type: [Message] via [websocket];
}

fn main() {}
