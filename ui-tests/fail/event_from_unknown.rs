#[dialogue::event(from = sever)]
pub struct Price {
    pub cents: u64,
}

fn main() {}
