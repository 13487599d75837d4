#[dialogue::event]
pub struct Message {
    #[validate(length(min = 1))]
    #[validate(length(max = 2000))]
    pub text: String,
}

fn main() {}
