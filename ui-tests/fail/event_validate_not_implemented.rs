#[dialogue::event(validate)]
pub struct Message {
    pub text: String,
}

fn main() {}
