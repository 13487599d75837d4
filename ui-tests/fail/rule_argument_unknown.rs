#[dialogue::event]
pub struct Message {
    #[validate(length(mim = 1))]
    pub text: String,
}

fn main() {}
