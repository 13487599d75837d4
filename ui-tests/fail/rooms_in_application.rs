#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    pub struct Acme {
        chat: [Message] via [websocket]
    }
}

fn main() {}
