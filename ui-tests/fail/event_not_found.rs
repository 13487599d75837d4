#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message, Mesage] via [websocket];
}

fn main() {}
