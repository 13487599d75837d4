#[dialogue::event]
pub struct Message {
    #[filter]
    pub text: String,
    #[filter]
    pub likes: u64,
}

fn main() {}
