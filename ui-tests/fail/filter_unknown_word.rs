#[dialogue::event]
pub struct Message {
    #[filter(skp)]
    pub text: String,
}

fn main() {}
