#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    project(id: u64): [Message] via [websocket];
}

fn main() {}
