#[dialogue::event]
pub struct Message {
    #[validate(schema(function = check))]
    pub text: String,
}

fn main() {}
