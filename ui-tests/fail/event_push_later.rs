#[dialogue::event(push(title = "{service} is down", body = "{detail}", ttl = 1h))]
pub struct Alert {
    pub service: String,
    pub detail: String,
}

fn main() {}
