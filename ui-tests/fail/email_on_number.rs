#[dialogue::event]
pub struct Message {
    #[validate(email)]
    pub likes: u64,
}

fn main() {}
