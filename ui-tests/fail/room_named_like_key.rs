#[dialogue::event]
pub struct Message {
    pub text: String,
}

pub type Ticket = u64;

dialogue::rooms! {
    ticket(Ticket): [Message] via [websocket];
}

fn main() {}
