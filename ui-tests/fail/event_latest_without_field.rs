#[dialogue::event(latest)]
pub struct Price {
    pub symbol: String,
    pub cents: u64,
}

fn main() {}
