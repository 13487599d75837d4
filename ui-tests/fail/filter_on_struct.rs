#[dialogue::event]
#[filter]
pub struct Message {
    pub text: String,
}

fn main() {}
