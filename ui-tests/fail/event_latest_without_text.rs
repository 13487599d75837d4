#[dialogue::event(latest = symbols)]
pub struct Prices {
    pub symbols: Vec<String>,
    pub cents: u64,
}

fn main() {}
