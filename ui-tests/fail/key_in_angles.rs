#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    project<u64>: [Message] via [websocket];
}

fn main() {}
