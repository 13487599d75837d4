#[dialogue::event(push(title = "host} is down", body = "Look!"))]
pub struct Alert {
    pub host: String,
}

fn main() {}
