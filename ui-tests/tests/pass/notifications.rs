//! Each way to say how an event reads as a notification.
use std::time::Duration;

use dialogue::{
    Room,
    notification::{Audience, Notification, PushEvent, Recipient},
    room::Channel,
};

#[dialogue::event(
    from = server,
    push(
        title = "{service} is down",
        body = "{detail}: {load:.1} {{sic}}",
        icon = "/icons/{service}.png",
        url = "/services/{service}",
        urgency = high,
        ttl = 1h,
        collapse = service,
        data = detail,
        after = 10s,
        always
    )
)]
pub struct Alert {
    pub service: String,
    pub detail: String,
    pub load: f64,
}

/// Without fields in its texts, an enum may be one too.
#[dialogue::event(push(title = "Deploy", body = "Something changed", data))]
pub enum Deploy {
    Began,
    Ended { good: bool },
}

#[dialogue::event(push(title = "{0}", body = "", urgency = low))]
pub struct Tuple(pub u64);

/// In the recipient's language; nothing to its author.
#[dialogue::event]
pub struct Comment {
    pub author: String,
}

impl PushEvent for Comment {
    const AFTER: Duration = Duration::from_secs(30);

    fn notification(&self, to: &Recipient<'_>) -> Option<Notification> {
        let verb = if to.language() == Some("de") { "kommentiert" } else { "commented" };
        (to.user_id() != self.author).then(|| Notification::new(format!("{} {verb}", self.author), ""))
    }
}

dialogue::rooms! {
    pub struct Acme;
    alerts: [Alert, Deploy] via [webpush, websocket];
    only: [Tuple, Comment] via [webpush];
}

#[test]
fn rooms_are_served_so() {
    assert_eq!(Alerts::CHANNELS, [Channel::WebPush, Channel::WebSocket]);
    assert_eq!(Only::CHANNELS, [Channel::WebPush]);
}

#[test]
fn options_are_constants() {
    assert_eq!((Alert::AFTER, Alert::AUDIENCE), (Duration::from_secs(10), Audience::All));
    assert_eq!((Tuple::AFTER, Tuple::AUDIENCE), (Duration::from_secs(5), Audience::Disconnected));
    assert_eq!(Comment::AFTER, Duration::from_secs(30));
}
