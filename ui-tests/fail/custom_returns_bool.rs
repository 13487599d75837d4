fn one_line(text: &str) -> bool {
    !text.contains('\n')
}

#[dialogue::event]
pub struct Message {
    #[validate(custom(function = one_line))]
    pub text: String,
}

fn main() {}
