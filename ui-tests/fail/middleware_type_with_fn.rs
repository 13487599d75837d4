use dialogue::middleware::Logger;

#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websocket] with [fn Logger];
}

fn main() {}
