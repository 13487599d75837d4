#[dialogue::event(push(title = "Down", body = "Look!", collapse = hots))]
pub struct Alert {
    pub host: String,
}

fn main() {}
