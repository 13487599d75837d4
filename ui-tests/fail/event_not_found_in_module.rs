mod v2 {
    #[dialogue::event]
    pub struct Message;
}

dialogue::rooms! {
    chat: [v2::Mesage] via [websocket];
    other: [v2::Message] via [sse];
}

fn main() {}
