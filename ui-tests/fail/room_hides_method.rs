#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    router: [Message] via [websocket];
}

fn main() {}
