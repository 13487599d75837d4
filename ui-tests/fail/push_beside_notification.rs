use dialogue::{Notice, Notification, Recipient};

#[dialogue::event(push(title = "Down", body = "Look!"))]
pub struct Alert {
    pub host: String,
}

impl Notification for Alert {
    fn notice(&self, _: &Recipient<'_>) -> Option<Notice> {
        None
    }
}

fn main() {}
