//! Apple's push notification service.

use std::sync::{Arc, Mutex};

use hyper::Version;
use ring::signature::ECDSA_P256_SHA256_FIXED;
use serde_json::json;

use super::{Answer, Check, Seen, Service, jws};
use crate::Result;

pub(crate) const KEY_ID: &str = "ABC123DEFG";
pub(crate) const TEAM_ID: &str = "DEF123GHIJ";
pub(crate) const TOPIC: &str = "com.acme.app";

pub(crate) struct Apple {
    pub(crate) service: Service,
    /// The `.p8`.
    pub(crate) key: String,
    /// The provider tokens that it was shown.
    pub(crate) tokens: Arc<Mutex<Vec<String>>>,
    /// Those of them that it takes no longer.
    expired: Arc<Mutex<Vec<String>>>,
}

impl Apple {
    pub(crate) async fn start() -> Result<Self> {
        let (key, public) = jws::ec_key();
        let tokens = Arc::<Mutex<Vec<String>>>::default();
        let expired = Arc::<Mutex<Vec<String>>>::default();
        let (shown, over) = (Arc::clone(&tokens), Arc::clone(&expired));
        let check: Check = Box::new(move |seen| accept(seen, &public, &shown, &over));
        Ok(Apple { service: Service::start(check).await?, key, tokens, expired })
    }

    /// No token that it was shown is good any more, by its clock.
    pub(crate) fn expire(&self) {
        let tokens = self.tokens.lock().expect("nobody panicked").clone();
        *self.expired.lock().expect("nobody panicked") = tokens;
    }
}

/// A reason as Apple writes it.
pub(crate) fn reason(status: u16, reason: &str) -> Answer {
    Answer::new(status, json!({ "reason": reason }).to_string())
        .header("apns-id", "EC1BF194-B3B2-424A-89A7-8BBF8E1C9A6B")
}

/// "Sending notification requests to APNs", as a list.
fn accept(
    seen: &Seen,
    public: &[u8],
    shown: &Mutex<Vec<String>>,
    expired: &Mutex<Vec<String>>,
) -> Result<Answer, Answer> {
    if seen.version != Version::HTTP_2 {
        return Err(Answer::new(505, ""));
    }
    if seen.method != "POST" {
        return Err(reason(405, "MethodNotAllowed"));
    }
    let device = seen.path.strip_prefix("/3/device/").ok_or_else(|| reason(404, "BadPath"))?;
    if device.len() < 16 || !device.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(reason(400, "BadDeviceToken"));
    }
    let token = seen
        .header("authorization")
        .strip_prefix("bearer ")
        .or_else(|| seen.header("authorization").strip_prefix("Bearer "));
    let token = token.ok_or_else(|| reason(403, "MissingProviderToken"))?;
    let (header, claims) = jws::verify(token, &ECDSA_P256_SHA256_FIXED, public)
        .ok_or_else(|| reason(403, "InvalidProviderToken"))?;
    if header["alg"] != "ES256" || header["kid"] != KEY_ID || claims["iss"] != TEAM_ID {
        return Err(reason(403, "InvalidProviderToken"));
    }
    let is_over = expired.lock().expect("nobody panicked").iter().any(|over| over == token);
    if is_over || jws::now().abs_diff(claims["iat"].as_u64().unwrap_or(0)) > 3_600 {
        return Err(reason(403, "ExpiredProviderToken"));
    }
    let mut shown = shown.lock().expect("nobody panicked");
    if !shown.iter().any(|known| known == token) {
        shown.push(token.to_owned());
    }
    check_headers(seen)?;
    if seen.body.len() > 4_096 {
        return Err(reason(413, "PayloadTooLarge"));
    }
    if seen.json()["aps"]["alert"]["title"].is_null() {
        return Err(reason(400, "PayloadEmpty"));
    }
    Ok(Answer::new(200, "").header("apns-id", "EC1BF194-B3B2-424A-89A7-8BBF8E1C9A6B"))
}

fn check_headers(seen: &Seen) -> Result<(), Answer> {
    if seen.header("apns-topic").is_empty() {
        return Err(reason(400, "MissingTopic"));
    }
    if seen.header("apns-topic") != TOPIC {
        return Err(reason(400, "TopicDisallowed"));
    }
    if seen.header("apns-push-type") != "alert" {
        return Err(reason(400, "InvalidPushType"));
    }
    if !["5", "10"].contains(&seen.header("apns-priority")) {
        return Err(reason(400, "BadPriority"));
    }
    if seen.header("apns-expiration").parse::<u64>().is_err() {
        return Err(reason(400, "BadExpirationDate"));
    }
    if seen.header("apns-collapse-id").len() > 64 {
        return Err(reason(400, "BadCollapseId"));
    }
    Ok(())
}
