#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    project(): [Message] via [websocket];
}

fn main() {}
