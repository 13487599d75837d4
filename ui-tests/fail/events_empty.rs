#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [] via [websocket];
}

fn main() {}
