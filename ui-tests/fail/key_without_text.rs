#[dialogue::event]
pub struct Message {
    pub text: String,
}

pub struct ProjectId(pub u64);

dialogue::rooms! {
    project(ProjectId): [Message] via [websocket];
}

fn main() {}
