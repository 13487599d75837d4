#[dialogue::event]
pub enum Message {
    Text {
        #[validate(length(min = 1))]
        text: String,
    },
}

fn main() {}
