pub struct Inner;

#[dialogue::event]
pub struct Message {
    pub inner: Inner,
}

fn main() {}
