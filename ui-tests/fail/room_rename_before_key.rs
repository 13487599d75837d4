#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    ticket as TicketRoom(u64): [Message] via [websocket];
}

fn main() {}
