#[dialogue::event]
pub struct Message {
    #[validate(required)]
    pub text: String,
}

fn main() {}
