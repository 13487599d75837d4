#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    pub struct Acme;
    acme: [Message] via [websocket];
}

fn main() {}
