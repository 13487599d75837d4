#[dialogue::event]
pub struct Message {
    #[validate(length(max = 100))]
    pub likes: Option<u64>,
}

fn main() {}
