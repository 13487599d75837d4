//! What an app finds in a push, within what a push holds.

use serde::Serialize;
use serde_json::value::RawValue;

use super::Outgoing;
use crate::{Notice, Position};

impl Outgoing<'_> {
    /// All of it as one JSON object of at most `most` bytes, for a provider whose apps read pushes as they come:
    ///
    /// `{"title", "body", "icon", "url", "roomId", "event", "position": {"epoch", "seq", "eventId"}, "timestamp", "collapse",
    /// "data"}`, without those that there are none of. Of what is longer, the data is left out first, then the end of the body.
    ///
    /// `None` if it is longer without both.
    pub fn json(&self, most: usize) -> Option<Vec<u8>> {
        fit(self.notice, most, |notice| {
            let data = notice.data.as_deref().and_then(|data| serde_json::from_str(data).ok());
            let payload = Payload {
                title: &notice.title,
                body: &notice.body,
                icon: notice.icon.as_deref(),
                url: notice.url.as_deref(),
                room_id: self.room_id,
                event: self.event,
                position: self.position,
                timestamp: self.timestamp,
                collapse: self.collapse,
                data,
            };
            // Strings, numbers and JSON: nothing in it can fail to be JSON.
            serde_json::to_vec(&payload).unwrap_or_default()
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
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

/// What `encode` makes of the notice, or of the most of it that is at most `most` bytes then.
pub(super) fn fit(notice: &Notice, most: usize, encode: impl Fn(&Notice) -> Vec<u8>) -> Option<Vec<u8>> {
    let whole = encode(notice);
    if whole.len() <= most {
        return Some(whole);
    }
    let mut less = Notice { data: None, ..notice.clone() };
    loop {
        let encoded = encode(&less);
        let over = encoded.len().saturating_sub(most);
        if over == 0 {
            return Some(encoded);
        }
        if less.body.is_empty() {
            return None;
        }
        shorten(&mut less.body, over);
    }
}

/// Takes at least `bytes` off the end, and says so by a `…`.
fn shorten(text: &mut String, bytes: usize) {
    const MARK: &str = "…";
    text.truncate(text.strip_suffix(MARK).map_or(text.len(), str::len));
    let mut end = text.len().saturating_sub(bytes + MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    if end > 0 {
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    fn json(notice: &Notice, most: usize) -> Option<Vec<u8>> {
        let position = Position { epoch: "k2f9".into(), seq: 7, event_id: "e".into() };
        let push = Outgoing {
            notice,
            room_id: "alerts",
            event: "alert",
            position: Some(&position),
            timestamp: 1,
            ttl: Duration::ZERO,
            collapse: None,
        };
        push.json(most)
    }

    #[test]
    fn data_goes_first_and_then_the_end_of_the_body() {
        let notice = Notice::new("db is down", "x".repeat(400)).data(&"y".repeat(400));
        let read = |most| serde_json::from_slice::<serde_json::Value>(&json(&notice, most).unwrap()).unwrap();
        assert_eq!(read(2_000)["data"], "y".repeat(400));
        assert_eq!((read(600)["data"].clone(), read(600)["body"].as_str().unwrap().len()), (().into(), 400));
        assert!(read(300)["body"].as_str().unwrap().ends_with("x…"));
        assert_eq!(read(300)["title"], "db is down");
        assert_eq!(json(&notice, 50), None);
    }

    proptest! {
        #[test]
        fn it_fits_or_is_none(body in "\\PC{0,200}", most in 0_usize..400) {
            let made = json(&Notice::new("t", body), most);
            let fits = made.is_none_or(|bytes| {
                bytes.len() <= most && serde_json::from_slice::<serde_json::Value>(&bytes).is_ok()
            });
            prop_assert!(fits);
        }
    }
}
