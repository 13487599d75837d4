#[dialogue::event(latest = symbol)]
pub enum Price {
    Known { symbol: String, cents: u64 },
    Unknown,
}

fn main() {}
