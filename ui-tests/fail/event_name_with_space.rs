#[dialogue::event(name = "new post")]
pub struct Message(pub String);

fn main() {}
