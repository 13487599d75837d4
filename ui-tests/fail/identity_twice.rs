#[derive(Debug, Clone)]
pub struct Member;

#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    #[room(identity = Member, identity = Member)]
    lounge: [Message] via [websocket];
}

fn main() {}
