#[dialogue::event(from = server)]
pub struct Error {
    pub text: String,
}

#[dialogue::event(name = "open")]
pub struct DoorOpened;

dialogue::rooms! {
    doors: [Error, DoorOpened] via [websocket];
    feed: [Error] via [websocket, sse];
    news: [DoorOpened] via [sse];
}

fn main() {}
