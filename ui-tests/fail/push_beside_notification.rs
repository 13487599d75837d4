use dialogue::notification::{Notification, PushEvent, Recipient};

#[dialogue::event(push(title = "Down", body = "Look!"))]
pub struct Alert {
    pub host: String,
}

impl PushEvent for Alert {
    fn notification(&self, _: &Recipient<'_>) -> Option<Notification> {
        None
    }
}

fn main() {}
