fn one_line(_: &str) -> Result<(), &'static str> {
    Ok(())
}

#[dialogue::event]
pub struct Message {
    #[validate(custom(function = one_line))]
    pub likes: Option<u64>,
}

fn main() {}
