#[dialogue::event]
pub struct Message<'a> {
    pub text: &'a str,
}

fn main() {}
