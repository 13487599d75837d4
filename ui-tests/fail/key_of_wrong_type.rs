#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    project(u64): [Message] via [websocket];
}

async fn go(server: RoomsServer) {
    let _ = server.project("7");
}

fn main() {}
