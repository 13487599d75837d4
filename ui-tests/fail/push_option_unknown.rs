#[dialogue::event(push(title = "Down", body = "Look!", colapse = host))]
pub struct Alert {
    pub host: String,
}

fn main() {}
