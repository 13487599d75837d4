#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Vec<Message>] via [websocket];
}

fn main() {}
