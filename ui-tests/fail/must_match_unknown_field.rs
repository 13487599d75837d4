#[dialogue::event]
pub struct Signup {
    pub password: String,
    #[validate(must_match(other = pasword))]
    pub again: String,
}

fn main() {}
