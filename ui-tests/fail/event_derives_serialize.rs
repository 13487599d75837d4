#[dialogue::event]
#[derive(Debug, serde::Serialize)]
pub struct Message {
    pub text: String,
}

fn main() {}
