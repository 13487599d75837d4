#[dialogue::event(push(title = "Down", body = "Look!", body = "Hurry!"))]
pub struct Alert {
    pub host: String,
}

fn main() {}
