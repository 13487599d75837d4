#[dialogue::event(push(title = "Down", body = "Look!", after = 1m, ttl = 30s))]
pub struct Alert {
    pub host: String,
}

fn main() {}
