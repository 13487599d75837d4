use dialogue::{validate::Violations, Validate};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

impl Validate for Message {
    fn validate(&self, _: &mut Violations) {}
}

fn main() {}
