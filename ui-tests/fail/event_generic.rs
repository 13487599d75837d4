#[dialogue::event]
pub struct Message<T> {
    pub body: T,
}

fn main() {}
