#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(subscribe = [Mesage])]
    chat: [Message] via [websocket];
}

fn main() {}
