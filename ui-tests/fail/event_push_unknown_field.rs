#[dialogue::event(push(title = "{servce} is down", body = "Look!"))]
pub struct Alert {
    pub service: String,
}

fn main() {}
