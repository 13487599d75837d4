#[dialogue::event]
pub struct Message {
    #[validate(custom(function = |text: &str| text.len() < 5))]
    pub text: String,
}

fn main() {}
