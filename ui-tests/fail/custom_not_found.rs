#[dialogue::event]
pub struct Message {
    #[validate(custom(function = one_line))]
    pub text: String,
}

fn main() {}
