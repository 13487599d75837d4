use dialogue::{Validate, validate::Violations};

#[dialogue::event]
pub struct Message {
    pub text: String,
}

impl Validate for Message {
    fn validate(&self, _: &mut Violations) {}
}

fn main() {}
