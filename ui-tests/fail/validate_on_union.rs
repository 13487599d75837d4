#[derive(dialogue::Validate)]
pub union Message {
    pub number: u32,
    pub float: f32,
}

fn main() {}
