#[dialogue::event(push(title = "{host} is down", body = "Look!"))]
pub enum Alert {
    Down { host: String },
}

fn main() {}
