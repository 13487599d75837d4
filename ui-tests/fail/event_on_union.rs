#[dialogue::event]
union Message {
    small: u8,
    large: u64,
}

fn main() {}
