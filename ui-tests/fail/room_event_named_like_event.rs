#[dialogue::event]
pub struct ChatEvent;

dialogue::rooms! {
    chat: [ChatEvent] via [websocket];
}

fn main() {}
