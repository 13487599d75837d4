//! The request body of FCM's HTTP v1 API: the resource [`projects.messages`][doc].
//!
//! [doc]: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages

use dialogue_core::{
    notification::{Notification, Urgency},
    push::PushMessage,
};
use serde_json::{Map, Value, json};

/// Encodes a request's body. FCM shows `notification` on each platform; the rest is in `data`, for the app.
pub(super) fn encode(token: &str, notification: &Notification, message: &PushMessage<'_>) -> Vec<u8> {
    let seconds = message.ttl.as_secs();
    let topic = message.topic();
    let mut android = json!({
        "ttl": format!("{seconds}s"),
        "priority": if notification.urgency == Urgency::High { "HIGH" } else { "NORMAL" },
    });
    let mut apns = json!({
        "apns-priority": if notification.urgency == Urgency::Low { "5" } else { "10" },
        "apns-expiration": (message.timestamp / 1_000 + seconds).to_string(),
    });
    let mut webpush_headers = json!({ "TTL": seconds.to_string(), "Urgency": notification.urgency.as_str() });
    if let Some(topic) = &topic {
        android["collapse_key"] = topic.as_str().into();
        android["notification"] = json!({ "tag": topic });
        apns["apns-collapse-id"] = topic.as_str().into();
        webpush_headers["Topic"] = topic.as_str().into();
    }
    let mut webpush = json!({ "headers": webpush_headers });
    if let Some(icon) = &notification.icon {
        webpush["notification"] = json!({ "icon": icon });
    }
    // FCM refuses links of other schemes.
    if let Some(url) = notification.url.as_ref().filter(|url| url.starts_with("https://")) {
        webpush["fcm_options"] = json!({ "link": url });
    }
    let body = json!({ "message": {
        "token": token,
        "notification": { "title": notification.title, "body": notification.body },
        "data": data(notification, message),
        "android": android,
        "apns": { "headers": apns },
        "webpush": webpush,
    } });
    body.to_string().into_bytes()
}

/// Returns the member `data`. Its values are strings, and the key `from` is reserved by FCM.
fn data(notification: &Notification, message: &PushMessage<'_>) -> Map<String, Value> {
    let mut data = Map::new();
    let mut put = |key: &str, value: String| data.insert(key.to_owned(), value.into());
    put("roomId", message.room_id.to_owned());
    put("event", message.event.to_owned());
    put("timestamp", message.timestamp.to_string());
    if let Some(position) = message.position {
        put("epoch", position.epoch.clone());
        put("seq", position.seq.to_string());
        put("eventId", position.event_id.clone());
    }
    if let Some(url) = &notification.url {
        put("url", url.clone());
    }
    if let Some(json) = notification.json_data() {
        put("data", json.to_owned());
    }
    data
}
