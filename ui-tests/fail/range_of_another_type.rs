#[dialogue::event]
pub struct Message {
    #[validate(range(min = 0))]
    pub weight: f64,
}

fn main() {}
