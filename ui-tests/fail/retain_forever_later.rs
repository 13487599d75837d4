#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(retain(forever))]
    chat: [Message] via [websocket];
}

fn main() {}
