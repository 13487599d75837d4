#[dialogue::event(push(title = "Down", body = "Look!", urgency = hihg))]
pub struct Alert {
    pub host: String,
}

fn main() {}
