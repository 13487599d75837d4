#[dialogue::event]
pub struct Message {
    pub text: String,
}

struct Id;
impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("id")
    }
}
impl std::str::FromStr for Id {
    type Err = ();
    fn from_str(_: &str) -> Result<Id, ()> {
        Ok(Id)
    }
}

dialogue::rooms! {
    pub struct Acme;
    project(Id): [Message] via [websocket];
}

fn main() {}
