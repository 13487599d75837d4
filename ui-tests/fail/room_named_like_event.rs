#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    message: [Message] via [websocket];
}

fn main() {}
