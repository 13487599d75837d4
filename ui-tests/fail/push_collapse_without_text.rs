#[dialogue::event(push(title = "Down", body = "Look!", collapse = hosts))]
pub struct Alert {
    pub hosts: Vec<String>,
}

fn main() {}
