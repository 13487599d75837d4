//! A message of FCM's HTTP v1 API.

use serde_json::{Map, Value, json};

use crate::{
    Notice, Urgency,
    push::{Outgoing, topic, urgency},
};

/// The body of a request. FCM's own fields tell each platform what they can; the rest is `data`, for the app.
pub(super) fn encode(token: &str, notice: &Notice, push: &Outgoing<'_>) -> Vec<u8> {
    let seconds = push.ttl.as_secs();
    let topic = push.collapse.map(|collapse| topic(push.room_id, collapse));
    let mut android = json!({
        "ttl": format!("{seconds}s"),
        "priority": if notice.urgency == Urgency::High { "HIGH" } else { "NORMAL" },
    });
    let mut apns = json!({
        "apns-priority": if notice.urgency == Urgency::Low { "5" } else { "10" },
        "apns-expiration": (push.timestamp / 1_000 + seconds).to_string(),
    });
    let mut browser = json!({ "TTL": seconds.to_string(), "Urgency": urgency(notice.urgency) });
    if let Some(topic) = &topic {
        android["collapse_key"] = topic.as_str().into();
        android["notification"] = json!({ "tag": topic });
        apns["apns-collapse-id"] = topic.as_str().into();
        browser["Topic"] = topic.as_str().into();
    }
    let mut webpush = json!({ "headers": browser });
    if let Some(icon) = &notice.icon {
        webpush["notification"] = json!({ "icon": icon });
    }
    // It takes no other link.
    if let Some(url) = notice.url.as_ref().filter(|url| url.starts_with("https://")) {
        webpush["fcm_options"] = json!({ "link": url });
    }
    let message = json!({ "message": {
        "token": token,
        "notification": { "title": notice.title, "body": notice.body },
        "data": data(notice, push),
        "android": android,
        "apns": { "headers": apns },
        "webpush": webpush,
    } });
    message.to_string().into_bytes()
}

/// Its values are strings, and `from` is a name that FCM keeps for itself.
fn data(notice: &Notice, push: &Outgoing<'_>) -> Map<String, Value> {
    let mut data = Map::new();
    let mut put = |key: &str, value: String| data.insert(key.to_owned(), value.into());
    put("roomId", push.room_id.to_owned());
    put("event", push.event.to_owned());
    put("timestamp", push.timestamp.to_string());
    if let Some(position) = push.position {
        put("epoch", position.epoch.clone());
        put("seq", position.seq.to_string());
        put("eventId", position.event_id.clone());
    }
    if let Some(url) = &notice.url {
        put("url", url.clone());
    }
    if let Some(json) = &notice.data {
        put("data", json.clone());
    }
    data
}
