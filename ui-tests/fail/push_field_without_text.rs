#[dialogue::event(push(title = "{hosts} are down", body = "Look!"))]
pub struct Alert {
    pub hosts: Vec<String>,
}

fn main() {}
