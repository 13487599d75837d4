#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat as: [Message] via [websocket];
}

fn main() {}
