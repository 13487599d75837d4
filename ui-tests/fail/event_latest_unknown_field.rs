#[dialogue::event(latest = symbl)]
pub struct Price {
    pub symbol: String,
    pub cents: u64,
}

fn main() {}
