#[dialogue::event(name = "")]
pub struct Message(pub String);

fn main() {}
