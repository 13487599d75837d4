#[dialogue::event(push(title = "Down", body = "Look!", after = 2h))]
pub struct Alert {
    pub host: String,
}

fn main() {}
