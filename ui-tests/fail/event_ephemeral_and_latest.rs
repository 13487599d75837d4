#[dialogue::event(ephemeral, latest = x)]
pub struct Cursor {
    pub x: u32,
}

fn main() {}
