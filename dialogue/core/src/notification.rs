//! [`Notification`], the text that a push shows.

use std::time::Duration;

use serde::Serialize;

/// The content of a push, which a device shows.
///
/// A push holds about 3 kB for browsers, and 4,096 bytes for FCM and APNs. If the content is longer, the data is left
/// out first, and then the end of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notification {
    /// The first line.
    pub title: String,
    /// The text below it.
    pub body: String,
    /// The URL of a picture.
    pub icon: Option<String>,
    /// The URL that a click opens.
    pub url: Option<String>,
    /// The urgency, which decides whether a sleeping device is woken.
    pub urgency: Urgency,
    /// The time for which the notification is worth being shown, from the event's acceptance on: at most 28 days. With
    /// zero, there is one attempt, and only devices that are reachable at that time get it.
    pub ttl: Duration,
    /// JSON for the app.
    pub(crate) data: Option<String>,
}

/// The urgency of a notification, which decides whether a sleeping device is woken (RFC 8030, section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Urgency {
    /// Delivered when the device is awake or on power.
    Low,
    /// Delivered as the device sees fit.
    #[default]
    Normal,
    /// Delivered at once.
    High,
}

impl Notification {
    /// Returns a notification with these texts, normal urgency and a TTL of 24 hours.
    pub fn new(title: impl Into<String>, body: impl Into<String>) -> Self {
        Notification {
            title: title.into(),
            body: body.into(),
            icon: None,
            url: None,
            urgency: Urgency::Normal,
            ttl: Duration::from_secs(24 * 60 * 60),
            data: None,
        }
    }

    /// Sets the URL of a picture.
    #[must_use]
    pub fn icon(mut self, url: impl Into<String>) -> Self {
        self.icon = Some(url.into());
        self
    }

    /// Sets the URL that a click opens.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Sets the urgency: [`Urgency::Normal`] by default.
    #[must_use]
    pub fn urgency(mut self, urgency: Urgency) -> Self {
        self.urgency = urgency;
        self
    }

    /// Sets the time for which the notification is worth being shown: 24 hours by default, at most 28 days.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.min(MAX_TTL);
        self
    }

    /// Returns the data as JSON.
    pub fn json_data(&self) -> Option<&str> {
        self.data.as_deref()
    }

    /// Sets data for the app. A value that can't be JSON is left out.
    #[must_use]
    pub fn data<T: Serialize + ?Sized>(mut self, data: &T) -> Self {
        self.data = serde_json::to_string(data).ok();
        self
    }
}

impl Urgency {
    /// Returns the value of the header `Urgency` (RFC 8030, section 5.3).
    pub const fn as_str(self) -> &'static str {
        match self {
            Urgency::Low => "low",
            Urgency::Normal => "normal",
            Urgency::High => "high",
        }
    }
}

/// The longest TTL that FCM takes, 2,419,200 s. The other providers' are longer or unlimited.
const MAX_TTL: Duration = Duration::from_secs(28 * 24 * 60 * 60);
