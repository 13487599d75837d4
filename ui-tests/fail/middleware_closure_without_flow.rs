#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    chat: [Message] via [websocket] with [async |cx, event, next| {
        let _ = next.run(cx, event).await;
    }];
}

fn main() {}
