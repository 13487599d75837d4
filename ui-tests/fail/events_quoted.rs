#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: ["message"] via [websocket];
}

fn main() {}
