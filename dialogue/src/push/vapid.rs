//! Browsers' push services: RFC 8030, encrypted as of RFC 8291, signed as of RFC 8292.

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
use parking_lot::Mutex;
use reqwest::{Client, Url};
use tokio::time::Instant;
use web_push::{
    ContentEncoding, PartialVapidSignatureBuilder, SubscriptionInfo, VapidSignatureBuilder,
    WebPushMessageBuilder,
};

use super::{
    Outcome, Outgoing, Provider, PushError, Subscription, Target,
    endpoint::{Hosts, Resolver, is_known},
    http::{Answer, LONGEST_WAIT, Trust, Versions, build},
    topic, urgency,
};

/// Pushes to browsers, whichever service theirs is, signed by the application's own key (VAPID).
///
/// Make a key with `openssl ecparam -name prime256v1 -genkey -noout`; pages get the public one from `GET /push/key`. A new key
/// is a new sender: browsers have to subscribe again.
///
/// ```
/// use dialogue::push::{Push, Vapid};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let key = "IQ9Ur0ykXoHS9gzfYX0aBjy9lvdrjx_PFUXmie9YRcY";
/// let push = Push::new().vapid(Vapid::from_base64(key, "mailto:ops@acme.example")?);
/// # let _ = push;
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing until `Push::vapid` is given it"]
pub struct Vapid {
    key: PartialVapidSignatureBuilder,
    /// Whom a push service writes to.
    subject: String,
    hosts: Hosts,
}

/// What the crate that encrypts takes; RFC 8291 lets a service take 3,993 bytes, and all take this.
const LONGEST: usize = 3_052;
/// Signatures are good for a day at most (RFC 8292, section 2); the crate makes them for half of that.
const SIGNED_FOR: Duration = Duration::from_secs(6 * 60 * 60);
/// Origins whose signatures are kept. There are a handful of push services; more are somebody's game.
const MOST_ORIGINS: usize = 256;

/// The time that a connection to a service stays open without a request, and how many of one service do.
const IDLE_WITHIN: Duration = Duration::from_secs(30);
const MOST_IDLE: usize = 32;
/// The longest wait that a service may ask for which isn't one of the browsers': an event stays in memory for each try
/// that waits.
const STRANGERS_WAIT: Duration = Duration::from_secs(60);

impl Vapid {
    /// The name that devices register with.
    pub const NAME: &str = "webpush";

    /// With a P-256 key in PEM, and where a push service's people can write to: `mailto:…` or `https://…`.
    ///
    /// # Errors
    ///
    /// The key is of no use, or the subject is none.
    pub fn from_pem(pem: &str, subject: impl Into<String>) -> Result<Self, PushError> {
        Self::new(VapidSignatureBuilder::from_pem_no_sub(pem.as_bytes()).ok(), subject.into())
    }

    /// With a P-256 key as `npx web-push generate-vapid-keys` prints it: the private number in base64url. See
    /// [`from_pem`](Self::from_pem).
    ///
    /// # Errors
    ///
    /// The key is of no use, or the subject is none.
    pub fn from_base64(key: &str, subject: impl Into<String>) -> Result<Self, PushError> {
        let key = key.trim().trim_end_matches('=');
        Self::new(VapidSignatureBuilder::from_base64_no_sub(key).ok(), subject.into())
    }

    fn new(key: Option<PartialVapidSignatureBuilder>, subject: String) -> Result<Self, PushError> {
        // The crate's own error says no more.
        let key = key.ok_or_else(|| PushError::new("the VAPID key is no private key of the curve P-256"))?;
        if !(subject.starts_with("mailto:") || subject.starts_with("https://")) {
            return Err(PushError::new("a VAPID subject is `mailto:…` or `https://…`: some services insist"));
        }
        Ok(Vapid { key, subject, hosts: Hosts::default() })
    }

    /// Only to the push services of Chrome, Firefox, Edge and Safari. Without, any public host may be one.
    pub fn known_hosts_only(mut self) -> Self {
        self.hosts = Hosts::Known;
        self
    }

    /// Also to private addresses and this machine: for tests, and for a push service in one's own network. Whoever may
    /// register a device then makes the server send HTTPS requests to any of them.
    pub fn allow_private_hosts(mut self) -> Self {
        self.hosts = Hosts::Any;
        self
    }

    pub(super) fn open(self, trust: &Trust) -> Result<Sender, PushError> {
        let client = trust.client(Versions::All)?.dns_resolver(Arc::new(Resolver(self.hosts)));
        // Strangers name as many services as they like: each idle connection to one is a file descriptor.
        let client = client.pool_idle_timeout(IDLE_WITHIN).pool_max_idle_per_host(MOST_IDLE);
        // A proxy would resolve and connect in the client's stead, wherever it can.
        let client = build(client.no_proxy())?;
        Ok(Sender { client, vapid: self, signatures: Mutex::default() })
    }

    /// The public key in base64url, for pages to subscribe with.
    pub(super) fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.get_public_key())
    }
}

/// The provider that a [`Vapid`] is.
pub(super) struct Sender {
    client: Client,
    vapid: Vapid,
    /// The header for each origin, and when it was made.
    signatures: Mutex<HashMap<String, (Arc<str>, Instant)>>,
}

impl Provider for Sender {
    fn name(&self) -> &'static str {
        Vapid::NAME
    }

    fn concurrency(&self) -> usize {
        256
    }

    fn origin(&self, target: &Target) -> Option<String> {
        Some(Url::parse(target.address()).ok()?.origin().ascii_serialization())
    }

    fn check(&self, target: &Target) -> Result<(), String> {
        let Target::Subscription(subscription) = target else {
            return Err("`subscription` is what `pushManager.subscribe` yields".to_owned());
        };
        self.vapid.hosts.check(&subscription.endpoint)?;
        if decode(&subscription.keys.p256dh).is_none_or(|key| key.len() != 65 || key.first() != Some(&4)) {
            return Err(
                "`subscription.keys.p256dh` is a public key of the curve P-256 in base64url".to_owned()
            );
        }
        if decode(&subscription.keys.auth).is_none_or(|secret| secret.len() != 16) {
            return Err("`subscription.keys.auth` is 16 bytes in base64url".to_owned());
        }
        Ok(())
    }

    async fn send(&self, target: &Target, push: &Outgoing<'_>) -> Outcome {
        let Target::Subscription(subscription) = target else {
            return Outcome::Rejected("a browser is reached by a subscription".to_owned());
        };
        // Again: what is stored may be older than the rules.
        let url = match self.vapid.hosts.check(&subscription.endpoint) {
            Ok(url) => url,
            Err(why) => return Outcome::Suspend(why.to_owned()),
        };
        let Some(payload) = push.json(LONGEST) else {
            return Outcome::Rejected("the texts are too long".to_owned());
        };
        let Some(body) = encrypt(subscription, &payload) else {
            return Outcome::Suspend("nothing can be encrypted with the subscription's keys".to_owned());
        };
        let origin = url.origin().ascii_serialization();
        let longest = longest_wait(&url);
        let Some(signature) = self.signature(&origin, &url) else {
            return Outcome::Misconfigured("the VAPID key signs nothing".to_owned());
        };
        let mut request = self
            .client
            .post(url)
            .header("authorization", &*signature)
            .header("ttl", push.ttl.as_secs())
            .header("urgency", urgency(push.notice.urgency))
            .header("content-encoding", "aes128gcm")
            .header("content-type", "application/octet-stream");
        if let Some(collapse) = push.collapse {
            request = request.header("topic", topic(push.room_id, collapse));
        }
        match Answer::to(request.body(body)).await {
            Ok(answer) => {
                if matches!(answer.status.as_u16(), 401 | 403) {
                    self.signatures.lock().remove(&origin);
                }
                outcome(&answer, longest)
            }
            Err(outcome) => outcome,
        }
    }
}

impl Sender {
    /// The `Authorization` for an origin (RFC 8292, section 3).
    fn signature(&self, origin: &str, url: &Url) -> Option<Arc<str>> {
        let fresh = |made: &Instant| made.elapsed() < SIGNED_FOR;
        if let Some((header, _)) = self.signatures.lock().get(origin).filter(|(_, made)| fresh(made)) {
            return Some(Arc::clone(header));
        }
        let subscription = SubscriptionInfo::new(url.as_str(), "", "");
        let mut builder = self.vapid.key.clone().add_sub_info(&subscription);
        builder.add_claim("aud", origin);
        builder.add_claim("sub", self.vapid.subject.as_str());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        builder.add_claim("exp", now + 2 * SIGNED_FOR.as_secs());
        let signature = builder.build().ok()?;
        let key = URL_SAFE_NO_PAD.encode(&signature.auth_k);
        // Without the space after the comma, that the RFC allows and a parser or two do not.
        let header: Arc<str> = format!("vapid t={},k={key}", signature.auth_t).into();
        let mut signatures = self.signatures.lock();
        if signatures.len() >= MOST_ORIGINS {
            signatures.clear();
        }
        signatures.insert(origin.to_owned(), (Arc::clone(&header), Instant::now()));
        Some(header)
    }
}

/// The payload for the subscription's keys alone (RFC 8291).
fn encrypt(subscription: &Subscription, payload: &[u8]) -> Option<Vec<u8>> {
    // The crate takes the unpadded form, and one browser's is as good as another's.
    let key = |text: &str| decode(text).map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    let (p256dh, auth) = (key(&subscription.keys.p256dh)?, key(&subscription.keys.auth)?);
    let info = SubscriptionInfo::new(subscription.endpoint.clone(), p256dh, auth);
    let mut builder = WebPushMessageBuilder::new(&info);
    builder.set_payload(ContentEncoding::Aes128Gcm, payload);
    Some(builder.build().ok()?.payload?.content)
}

/// Base64 in whichever of its forms.
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

/// The longest wait that a service may ask for.
fn longest_wait(url: &Url) -> Duration {
    if is_known(url) { LONGEST_WAIT } else { STRANGERS_WAIT }
}

/// RFC 8030, sections 5 and 7.3, and what services make of it. A service is waited for as `longest` says.
fn outcome(answer: &Answer, longest: Duration) -> Outcome {
    match answer.status.as_u16() {
        200..=204 => Outcome::Delivered,
        404 | 410 => Outcome::Gone(None),
        // Of a subscription, or of all: a stranger's service must not stop the others.
        429 | 500.. => Outcome::Retry {
            reason: answer.words(),
            after: answer.retry_after.map(|after| after.min(longest)),
        },
        401 | 403 => Outcome::Misconfigured(answer.words()),
        _ => Outcome::Rejected(answer.words()),
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
    fn a_service_of_strangers_is_waited_for_a_minute_at_most() {
        let answer = Answer {
            status: http::StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(Duration::from_secs(3_600)),
            body: Vec::new(),
        };
        for (endpoint, seconds) in [
            ("https://push.example/x", 60),
            ("https://fcm.googleapis.com.evil.example/x", 60),
            ("https://updates.push.services.mozilla.com/x", 3_600),
        ] {
            let longest = longest_wait(&Url::parse(endpoint).expect("a URL"));
            let Outcome::Retry { after, .. } = outcome(&answer, longest) else { panic!("no retry") };
            assert_eq!(after, Some(Duration::from_secs(seconds)), "{endpoint}");
        }
    }
}
