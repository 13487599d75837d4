//! The JSON payload of a push, shortened to the size that a provider allows.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::PushMessage;
use crate::{notification::Notification, wire::Position};

impl PushMessage<'_> {
    /// Returns the push as one JSON object of at most `max_bytes` bytes, for a provider whose apps read it as it is:
    ///
    /// `{"title", "body", "icon", "url", "roomId", "event", "position": {"epoch", "seq", "eventId"}, "timestamp",
    /// "collapse", "data"}`, without absent members. If it is longer, the data is left out first, and then the end of
    /// the body.
    ///
    /// Returns `None` if it is longer without both.
    pub fn json(&self, max_bytes: usize) -> Option<Vec<u8>> {
        self.fit(max_bytes, |notification| {
            let data = notification.data.as_deref().and_then(|data| serde_json::from_str(data).ok());
            let payload = NotificationPayload {
                title: &notification.title,
                body: &notification.body,
                icon: notification.icon.as_deref(),
                url: notification.url.as_deref(),
                room_id: self.room_id,
                event: self.event,
                position: self.position,
                timestamp: self.timestamp,
                collapse: self.collapse_key,
                data,
            };
            // Strings, numbers and JSON: nothing in it can fail to be JSON.
            serde_json::to_vec(&payload).unwrap_or_default()
        })
    }

    /// Encodes the notification, or as much of it as fits: without the data first, and then with a shorter body.
    /// Returns `None` if it is longer than `max_bytes` without both.
    pub fn fit(&self, max_bytes: usize, encode: impl Fn(&Notification) -> Vec<u8>) -> Option<Vec<u8>> {
        let full = encode(self.notification);
        if full.len() <= max_bytes {
            return Some(full);
        }
        let mut shortened = Notification { data: None, ..self.notification.clone() };
        loop {
            let encoded = encode(&shortened);
            let over = encoded.len().saturating_sub(max_bytes);
            if over == 0 {
                return Some(encoded);
            }
            if shortened.body.is_empty() {
                return None;
            }
            shorten(&mut shortened.body, over);
        }
    }

    /// Returns the value by which a provider replaces an older notification by a newer one, if the event has a collapse
    /// key: the `Topic` of Web Push, the collapse id of APNs, the collapse key of FCM. It has 32 characters of
    /// base64url, which is the longest topic (RFC 8030, section 5.4), and no trace of the key.
    pub fn topic(&self) -> Option<String> {
        self.collapse_key.map(|key| topic(self.room_id, key))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NotificationPayload<'a> {
    title: &'a str,
    body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    room_id: &'a str,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<&'a Position>,
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// See [`PushMessage::topic`].
#[doc(hidden)]
pub fn topic(room_id: &str, collapse_key: &str) -> String {
    let hash = Sha256::digest(format!("{room_id}\0{collapse_key}"));
    URL_SAFE_NO_PAD.encode(hash.get(..24).unwrap_or_default())
}

/// Takes at least `bytes` bytes off the end, and puts a `…` in their place.
fn shorten(text: &mut String, bytes: usize) {
    const ELLIPSIS: &str = "…";
    text.truncate(text.strip_suffix(ELLIPSIS).map_or(text.len(), str::len));
    let mut end = text.len().saturating_sub(bytes + ELLIPSIS.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    if end > 0 {
        text.push_str(ELLIPSIS);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    fn json(notification: &Notification, max_bytes: usize) -> Option<Vec<u8>> {
        let position = Position { epoch: "k2f9".into(), seq: 7, event_id: "e".into() };
        let message = PushMessage {
            notification,
            room_id: "alerts",
            event: "alert",
            position: Some(&position),
            timestamp: 1,
            ttl: Duration::ZERO,
            collapse_key: None,
        };
        message.json(max_bytes)
    }

    #[test]
    fn data_is_left_out_first_and_then_the_end_of_the_body() {
        let notification = Notification::new("db is down", "x".repeat(400)).data(&"y".repeat(400));
        let read =
            |most| serde_json::from_slice::<serde_json::Value>(&json(&notification, most).unwrap()).unwrap();
        assert_eq!(read(2_000)["data"], "y".repeat(400));
        assert_eq!((read(600)["data"].clone(), read(600)["body"].as_str().unwrap().len()), (().into(), 400));
        assert!(read(300)["body"].as_str().unwrap().ends_with("x…"));
        assert_eq!(read(300)["title"], "db is down");
        assert_eq!(json(&notification, 50), None);
    }

    proptest! {
        #[test]
        fn a_payload_fits_or_is_none(body in "\\PC{0,200}", most in 0_usize..400) {
            let made = json(&Notification::new("t", body), most);
            let fits = made.is_none_or(|bytes| {
                bytes.len() <= most && serde_json::from_slice::<serde_json::Value>(&bytes).is_ok()
            });
            prop_assert!(fits);
        }
    }
}
