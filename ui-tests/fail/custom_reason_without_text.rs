pub struct Reason;

fn one_line(_: &str) -> Result<(), Reason> {
    Ok(())
}

#[dialogue::event]
pub struct Message {
    #[validate(custom(function = one_line))]
    pub text: String,
}

fn main() {}
