const LONGEST: u64 = 2000;

#[dialogue::event]
pub struct Message {
    #[validate(length(max = LONGEST))]
    pub text: String,
}

fn main() {}
