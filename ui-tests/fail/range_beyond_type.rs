#[dialogue::event]
pub struct Message {
    #[validate(range(max = 300))]
    pub likes: u8,
}

fn main() {}
