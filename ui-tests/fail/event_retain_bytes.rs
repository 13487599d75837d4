#[dialogue::event(retain(bytes = 1MiB))]
pub struct Message {
    pub text: String,
}

fn main() {}
