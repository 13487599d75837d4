#[dialogue::event(from = "server")]
pub struct Price {
    pub symbol: String,
}

fn main() {}
