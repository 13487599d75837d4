#[dialogue::event]
pub struct Message {
    #[validate]
    pub text: String,
}

fn main() {}
