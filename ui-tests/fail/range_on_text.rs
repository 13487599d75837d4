#[dialogue::event]
pub struct Message {
    #[validate(range(min = 1, max = 2000))]
    pub text: String,
}

fn main() {}
