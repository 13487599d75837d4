#[dialogue::event]
pub enum Message {
    #[validate(length(max = 2000))]
    Text(String),
}

fn main() {}
