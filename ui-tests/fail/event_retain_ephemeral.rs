#[dialogue::event(ephemeral, retain(age = 1h))]
pub struct Typing {
    pub active: bool,
}

fn main() {}
