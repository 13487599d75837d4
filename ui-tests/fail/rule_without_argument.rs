#[dialogue::event]
pub struct Message {
    #[validate(length)]
    pub text: String,
}

fn main() {}
