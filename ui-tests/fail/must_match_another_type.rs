#[dialogue::event]
pub struct Signup {
    pub password: String,
    #[validate(must_match(other = password))]
    pub again: u64,
}

fn main() {}
