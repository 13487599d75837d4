#[derive(dialogue::Validate)]
pub struct Order {
    #[validate(nested)]
    pub items: Vec<Item>,
}

pub struct Item {
    pub name: String,
}

fn main() {}
