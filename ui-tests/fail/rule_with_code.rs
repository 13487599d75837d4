#[dialogue::event]
pub struct Message {
    #[validate(length(max = 2000, code = "too_long"))]
    pub text: String,
}

fn main() {}
