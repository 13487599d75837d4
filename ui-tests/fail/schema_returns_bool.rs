#[dialogue::event]
#[validate(schema(function = is_short))]
pub struct Message {
    pub text: String,
}

fn is_short(message: &Message) -> bool {
    message.text.len() < 10
}

fn main() {}
