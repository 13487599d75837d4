#[dialogue::event("chat-message")]
pub struct Message {
    pub text: String,
}

fn main() {}
