#[dialogue::event(validate)]
pub struct Message {
    #[validate(length(max = 2000))]
    pub text: String,
}

fn main() {}
