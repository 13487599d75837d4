#[dialogue::event(name)]
pub struct NewPost {
    pub title: String,
}

fn main() {}
