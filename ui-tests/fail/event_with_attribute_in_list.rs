#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [#[cfg(all())] Message] via [websocket];
}

fn main() {}
