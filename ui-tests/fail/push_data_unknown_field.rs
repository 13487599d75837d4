#[dialogue::event(push(title = "Down", body = "Look!", data = hots))]
pub struct Alert {
    pub host: String,
}

fn main() {}
