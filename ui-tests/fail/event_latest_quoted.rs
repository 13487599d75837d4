#[dialogue::event(latest = "symbol")]
pub struct Price {
    pub symbol: String,
}

fn main() {}
