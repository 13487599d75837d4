#[dialogue::event(name = "a", name = "b")]
pub struct NewPost {
    pub title: String,
}

fn main() {}
