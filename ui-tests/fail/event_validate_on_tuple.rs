#[dialogue::event]
pub struct Message(#[validate(length(min = 1))] pub String);

fn main() {}
