#[dialogue::event]
#[validate(length(max = 2000))]
pub struct Message {
    pub text: String,
}

fn main() {}
