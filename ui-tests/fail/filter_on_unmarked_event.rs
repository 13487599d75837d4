use dialogue::middleware::ContentFilter;

#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websocket] with [ContentFilter::words(["spam"])];
}

fn main() {}
