#[dialogue::event]
pub struct Message {
    #[validate(length(min = 20, max = 2))]
    pub text: String,
}

fn main() {}
