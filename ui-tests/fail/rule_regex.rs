#[dialogue::event]
pub struct Message {
    #[validate(regex(path = *SLUG))]
    pub slug: String,
}

fn main() {}
