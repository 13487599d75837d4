#[dialogue::event(nmae = "post")]
pub struct NewPost {
    pub title: String,
}

dialogue::rooms! {
    chat: [NewPost] via [websocket];
}

fn main() {}
