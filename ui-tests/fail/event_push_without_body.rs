#[dialogue::event(push(title = "{service} is down"))]
pub struct Alert {
    pub service: String,
}

fn main() {}
