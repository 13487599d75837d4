mod v2 {
    #[dialogue::event]
    pub struct Message;
}

dialogue::rooms! {
    chat: [v2.Message] via [websocket];
}

fn main() {}
