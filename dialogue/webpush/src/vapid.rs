//! The provider of browsers' push services: the Web Push protocol (RFC 8030), with message encryption (RFC 8291) and
//! VAPID, the server's identification by a signature (RFC 8292).

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use dialogue_core::push::{Provider, PushMessage, PushSubscription, PushTarget, SendOutcome};
use dialogue_push::http::{HttpClient, HttpVersions, MAX_RETRY_AFTER, ProviderResponse};
use http::{Request, Uri};
use parking_lot::Mutex;
use tokio::time::Instant;
use url::Url;
use web_push::{
    ContentEncoding, PartialVapidSignatureBuilder, SubscriptionInfo, VapidSignatureBuilder,
    WebPushMessageBuilder,
};

use crate::{
    VapidError,
    endpoint::{AllowedHosts, is_browser_origin, is_browser_service, is_public},
};

/// Pushes to browsers through the Web Push protocol, signed with the application's own key (VAPID, RFC 8292).
///
/// `openssl ecparam -name prime256v1 -genkey -noout` makes a key; pages get its public part from `GET /push/key`. After
/// a change of the key, browsers have to subscribe again, since subscriptions are bound to it.
///
/// ```
/// use dialogue::push::{Push, Vapid};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let key = "IQ9Ur0ykXoHS9gzfYX0aBjy9lvdrjx_PFUXmie9YRcY";
/// let push = Push::new().provider(Vapid::from_base64(key, "mailto:ops@acme.example")?);
/// # let _ = push;
/// # Ok(())
/// # }
/// ```
#[must_use = "a provider does nothing until `Push::provider` takes it"]
pub struct Vapid {
    key: PartialVapidSignatureBuilder,
    /// The contact for the push services' operators.
    subject: String,
    hosts: AllowedHosts,
    client: HttpClient,
    /// The `Authorization` header for each origin, and the time at which it was made.
    signatures: Mutex<HashMap<String, (Arc<str>, Instant)>>,
}

/// The maximum of bytes of a payload. It is that of the crate `web-push`; RFC 8291 allows 3,993.
const MAX_PAYLOAD_BYTES: usize = 3_052;
/// The time for which a signature is used. It is valid for twice that; RFC 8292, section 2, allows a day.
const SIGNATURE_LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);
/// Origins whose signatures are cached. There are a handful of push services; more origins are an abuse.
const MAX_SIGNATURES: usize = 256;
/// The longest `Retry-After` that is obeyed of a service that is no browser vendor's. An event stays in memory while
/// one of its pushes waits.
const MAX_OTHER_RETRY_AFTER: Duration = Duration::from_secs(60);

impl Vapid {
    /// The provider's name, with which devices register.
    pub const NAME: &str = "webpush";

    /// Creates the provider from a P-256 key in PEM, and a contact for the push services' operators: `mailto:…` or
    /// `https://…`.
    ///
    /// # Errors
    ///
    /// The key can't be read, or the contact is neither.
    pub fn from_pem(pem: &str, subject: impl Into<String>) -> Result<Self, VapidError> {
        Self::new(VapidSignatureBuilder::from_pem_no_sub(pem.as_bytes()).ok(), subject.into())
    }

    /// Creates the provider from a P-256 key as `npx web-push generate-vapid-keys` prints it: the private number in
    /// base64url. See [`from_pem`](Self::from_pem).
    ///
    /// # Errors
    ///
    /// The key can't be read, or the contact is neither `mailto:…` nor `https://…`.
    pub fn from_base64(key: &str, subject: impl Into<String>) -> Result<Self, VapidError> {
        let key = key.trim().trim_end_matches('=');
        Self::new(VapidSignatureBuilder::from_base64_no_sub(key).ok(), subject.into())
    }

    fn new(key: Option<PartialVapidSignatureBuilder>, subject: String) -> Result<Self, VapidError> {
        // The crate's error has no further detail.
        let key = key.ok_or_else(VapidError::key)?;
        if !(subject.starts_with("mailto:") || subject.starts_with("https://")) {
            return Err(VapidError::subject());
        }
        let client = HttpClient::new(HttpVersions::Any).hosts_of_users(is_public);
        Ok(Vapid { key, subject, hosts: AllowedHosts::default(), client, signatures: Mutex::default() })
    }

    /// Sends only to the push services of Chrome, Firefox, Edge and Safari. By default, any public host may be a push
    /// service.
    pub fn known_hosts_only(mut self) -> Self {
        self.hosts = AllowedHosts::Browsers;
        self.client = self.client.hosts_of_users(is_public);
        self
    }

    /// Sends also to private addresses and this machine: for tests, and for a push service in a private network. Users
    /// who may register a device can then make the server send HTTPS requests to any of these addresses (server-side
    /// request forgery).
    pub fn allow_private_hosts(mut self) -> Self {
        self.hosts = AllowedHosts::Any;
        self.client = self.client.hosts_of_users(|_| true);
        self
    }

    /// Trusts the root certificates in `pem` in addition to the system's: that of a push service in a private network,
    /// for example. Each call adds some.
    ///
    /// # Errors
    ///
    /// There is no certificate in `pem`, or one can't be read.
    pub fn root_certificate(mut self, pem: impl AsRef<str>) -> Result<Self, VapidError> {
        self.client = self.client.root_certificate(pem.as_ref())?;
        Ok(self)
    }

    /// Returns the public key in base64url, with which pages subscribe.
    fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.get_public_key())
    }
}

impl Provider for Vapid {
    fn name(&self) -> &'static str {
        Vapid::NAME
    }

    fn concurrency(&self) -> usize {
        256
    }

    fn origin(&self, target: &PushTarget) -> Option<String> {
        Some(Url::parse(target.address()).ok()?.origin().ascii_serialization())
    }

    fn is_known_origin(&self, origin: &str) -> bool {
        is_browser_origin(origin)
    }

    fn application_key(&self) -> Option<String> {
        Some(self.public_key())
    }

    fn check(&self, target: &PushTarget) -> Result<(), String> {
        let PushTarget::Subscription(subscription) = target else {
            return Err("`subscription` has to be the result of `pushManager.subscribe`".to_owned());
        };
        self.hosts.check(&subscription.endpoint)?;
        if decode(&subscription.keys.p256dh).is_none_or(|key| key.len() != 65 || key.first() != Some(&4)) {
            return Err("`subscription.keys.p256dh` has to be a public key of the curve P-256 in base64url"
                .to_owned());
        }
        if decode(&subscription.keys.auth).is_none_or(|secret| secret.len() != 16) {
            return Err("`subscription.keys.auth` has to be 16 bytes in base64url".to_owned());
        }
        Ok(())
    }

    async fn send(&self, target: &PushTarget, message: &PushMessage<'_>) -> SendOutcome {
        let PushTarget::Subscription(subscription) = target else {
            return SendOutcome::Rejected("a browser's target has to be a subscription".to_owned());
        };
        // A stored endpoint may be older than the current settings.
        let url = match self.hosts.check(&subscription.endpoint) {
            Ok(url) => url,
            Err(reason) => return SendOutcome::InvalidTarget(reason.to_owned()),
        };
        let Some(payload) = message.json(MAX_PAYLOAD_BYTES) else {
            return SendOutcome::Rejected(
                "the notification is too long, even without its data and body".to_owned(),
            );
        };
        let Some(body) = encrypt(subscription, &payload) else {
            return SendOutcome::InvalidTarget("can't encrypt with the subscription's keys".to_owned());
        };
        let origin = url.origin().ascii_serialization();
        let max_retry_after = max_retry_after(&url);
        let Some(signature) = self.signature(&origin, &url) else {
            return SendOutcome::Misconfigured("can't sign with the VAPID key".to_owned());
        };
        let Ok(uri) = Uri::try_from(url.as_str()) else {
            return SendOutcome::InvalidTarget("the endpoint is not a URL".to_owned());
        };
        let mut request = Request::post(uri)
            .header("authorization", &*signature)
            .header("ttl", message.ttl.as_secs())
            .header("urgency", message.notification.urgency.as_str())
            .header("content-encoding", "aes128gcm")
            .header("content-type", "application/octet-stream");
        if let Some(topic) = message.topic() {
            request = request.header("topic", topic);
        }
        match self.client.send(request, body).await {
            Ok(response) => {
                if matches!(response.status.as_u16(), 401 | 403) {
                    self.signatures.lock().remove(&origin);
                }
                outcome(&response, max_retry_after)
            }
            Err(outcome) => outcome,
        }
    }
}

impl Vapid {
    /// Returns the `Authorization` header for an origin (RFC 8292, section 3).
    fn signature(&self, origin: &str, url: &Url) -> Option<Arc<str>> {
        let is_fresh = |made_at: &Instant| made_at.elapsed() < SIGNATURE_LIFETIME;
        if let Some((header, _)) = self.signatures.lock().get(origin).filter(|(_, made_at)| is_fresh(made_at))
        {
            return Some(Arc::clone(header));
        }
        let subscription = SubscriptionInfo::new(url.as_str(), "", "");
        let mut builder = self.key.clone().add_sub_info(&subscription);
        builder.add_claim("aud", origin);
        builder.add_claim("sub", self.subject.as_str());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        builder.add_claim("exp", now + 2 * SIGNATURE_LIFETIME.as_secs());
        let signature = builder.build().ok()?;
        let key = URL_SAFE_NO_PAD.encode(&signature.auth_k);
        // Without a space after the comma, which the RFC allows and some parsers don't.
        let header: Arc<str> = format!("vapid t={},k={key}", signature.auth_t).into();
        let mut signatures = self.signatures.lock();
        if signatures.len() >= MAX_SIGNATURES {
            signatures.clear();
        }
        signatures.insert(origin.to_owned(), (Arc::clone(&header), Instant::now()));
        Some(header)
    }
}

/// Encrypts a payload for a subscription (RFC 8291); `None` if its keys are invalid.
fn encrypt(subscription: &PushSubscription, payload: &[u8]) -> Option<Vec<u8>> {
    // The crate takes base64url without padding; browsers' libraries differ.
    let key = |text: &str| decode(text).map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    let (p256dh, auth) = (key(&subscription.keys.p256dh)?, key(&subscription.keys.auth)?);
    let info = SubscriptionInfo::new(subscription.endpoint.clone(), p256dh, auth);
    let mut builder = WebPushMessageBuilder::new(&info);
    builder.set_payload(ContentEncoding::Aes128Gcm, payload);
    Some(builder.build().ok()?.payload?.content)
}

/// Decodes base64 or base64url, with or without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    match text.contains(['+', '/']) {
        true => {
            let padding = "=".repeat((4 - text.len() % 4) % 4);
            STANDARD.decode(format!("{text}{padding}")).ok()
        }
        false => URL_SAFE_NO_PAD.decode(text).ok(),
    }
}

/// Returns the longest `Retry-After` of a service that is obeyed.
fn max_retry_after(url: &Url) -> Duration {
    if is_browser_service(url) { MAX_RETRY_AFTER } else { MAX_OTHER_RETRY_AFTER }
}

/// Maps a response to an outcome (RFC 8030, sections 5 and 7.3).
fn outcome(response: &ProviderResponse, max_retry_after: Duration) -> SendOutcome {
    match response.status.as_u16() {
        200..=204 => SendOutcome::Delivered,
        404 | 410 => SendOutcome::Unregistered(None),
        // It may concern this subscription or all: one hostile service must not pause the others.
        429 | 500.. => SendOutcome::Retry {
            reason: response.summary(),
            after: response.retry_after.map(|after| after.min(max_retry_after)),
        },
        401 | 403 => SendOutcome::Misconfigured(response.summary()),
        _ => SendOutcome::Rejected(response.summary()),
    }
}

impl fmt::Debug for Vapid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vapid")
            .field("public_key", &self.public_key())
            .field("subject", &self.subject)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_of_an_unknown_service_is_a_minute_at_most() {
        let status = http::StatusCode::SERVICE_UNAVAILABLE;
        let response = ProviderResponse::new(status, Some(Duration::from_secs(3_600)));
        for (endpoint, seconds) in [
            ("https://push.example/x", 60),
            ("https://fcm.googleapis.com.evil.example/x", 60),
            ("https://updates.push.services.mozilla.com/x", 3_600),
        ] {
            let max_retry_after = max_retry_after(&Url::parse(endpoint).expect("a URL"));
            let SendOutcome::Retry { after, .. } = outcome(&response, max_retry_after) else {
                panic!("no retry")
            };
            assert_eq!(after, Some(Duration::from_secs(seconds)), "{endpoint}");
        }
    }
}
