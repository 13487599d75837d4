#[dialogue::event(push(title = "Down", body = "Look!", ttl = 30d))]
pub struct Alert {
    pub host: String,
}

fn main() {}
