#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
#[derive(Default)]
pub struct Ticket {
    pub open: bool,
}

dialogue::rooms! {
    #[room(state = Ticket)]
    ticket(u64): [Message] via [websocket];
}

fn main() {}
