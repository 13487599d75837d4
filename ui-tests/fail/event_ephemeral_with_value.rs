#[dialogue::event(ephemeral = true)]
pub struct NewPost {
    pub title: String,
}

fn main() {}
