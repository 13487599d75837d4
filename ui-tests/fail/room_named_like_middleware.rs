#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    logger: [Message] via [websocket] with [Logger];
}

use dialogue::middleware::Logger;

fn main() {}
