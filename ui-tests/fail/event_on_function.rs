#[dialogue::event]
fn message() {}

fn main() {}
