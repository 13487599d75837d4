#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(identity)]
    lounge: [Message] via [websocket];
}

fn main() {}
