#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
pub struct Poke;

dialogue::rooms! {
    chat: [Message, Poke] via [websocket];
}

fn read(event: ChatEvent) -> String {
    match event {
        ChatEvent::Message(message) => message.text,
    }
}

fn main() {}
