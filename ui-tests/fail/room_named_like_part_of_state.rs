#[dialogue::event]
pub struct Message {
    pub text: String,
}

#[dialogue::event]
pub struct Ticket;

dialogue::rooms! {
    #[room(state = Vec<Ticket>)]
    ticket(u64): [Message] via [websocket];
}

fn main() {}
