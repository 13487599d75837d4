//! A store alone doesn't connect nodes.

#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    pub struct Acme;
    chat: [Message] via [websocket];
}

fn main() {
    let _ = Acme::server().backplane(dialogue::store::Memory::new());
}
