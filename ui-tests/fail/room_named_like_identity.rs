#[dialogue::event]
pub struct Message {
    pub text: String,
}

pub struct Member;

dialogue::rooms! {
    #[room(identity = Member)]
    member: [Message] via [websocket];
}

fn main() {}
