//! The Apple Push Notification service, over HTTP/2 with a provider token.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Outcome, Outgoing, Provider, PushError, Target,
    http::{Answer, Trust, Versions, build},
    jws::SigningKey,
    payload::fit,
    topic,
};
use crate::{Notice, Urgency};

/// Pushes to Apple's devices, by a `.p8` key.
///
/// ```no_run
/// use dialogue::push::{Apns, Push};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = std::fs::read_to_string("AuthKey_ABC123DEFG.p8")?;
/// let push = Push::new().apns(Apns::from_p8(&key, "ABC123DEFG", "DEF123GHIJ", "com.acme.app")?);
/// # let _ = push;
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing until `Push::apns` is given it"]
pub struct Apns {
    key: SigningKey,
    key_id: String,
    team_id: String,
    topic: String,
    base: String,
}

const PRODUCTION: &str = "https://api.push.apple.com";
const SANDBOX: &str = "https://api.sandbox.push.apple.com";
/// Bytes of a payload.
const LONGEST: usize = 4_096;
/// Apple takes a token for an hour at most.
const RENEW_AFTER: Duration = Duration::from_secs(50 * 60);
/// It takes no newer one before that.
const RENEW_AT_EARLIEST: Duration = Duration::from_secs(20 * 60);

impl Apns {
    /// The name that devices register with.
    pub const NAME: &str = "apns";

    /// With the key in a `.p8` file, its id, the team's id, and the app's bundle id.
    ///
    /// # Errors
    ///
    /// The key is of no use.
    pub fn from_p8(
        pem: &str,
        key_id: impl Into<String>,
        team_id: impl Into<String>,
        bundle_id: impl Into<String>,
    ) -> Result<Self, PushError> {
        let (key_id, team_id, topic) = (key_id.into(), team_id.into(), bundle_id.into());
        if [&key_id, &team_id, &topic].iter().any(|text| !is_plain(text)) {
            return Err(PushError::new(
                "a key's id, a team's id and a bundle id are letters, digits, `.` and `-`",
            ));
        }
        Ok(Apns { key: SigningKey::es256(pem)?, key_id, team_id, topic, base: PRODUCTION.to_owned() })
    }

    /// Through Apple's development environment, which has tokens of its own: for apps that Xcode put on a device.
    pub fn sandbox(self) -> Self {
        self.at(SANDBOX)
    }

    /// Through another place than `https://api.push.apple.com`: its port 2197, or a gateway.
    pub fn at(mut self, url: impl Into<String>) -> Self {
        self.base = url.into().trim_end_matches('/').to_owned();
        self
    }

    pub(super) fn open(self, trust: &Trust) -> Result<Sender, PushError> {
        let client = build(trust.client(Versions::Two)?)?;
        Ok(Sender { client, apns: self, token: Mutex::default() })
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
}

/// The provider that an [`Apns`] is.
pub(super) struct Sender {
    client: Client,
    apns: Apns,
    token: Mutex<Option<(Arc<str>, Instant)>>,
}

impl Provider for Sender {
    fn name(&self) -> &'static str {
        Apns::NAME
    }

    /// All ride one connection, and Apple's servers take about a thousand streams on it.
    fn concurrency(&self) -> usize {
        500
    }

    fn check(&self, target: &Target) -> Result<(), String> {
        match target {
            Target::Token(token)
                if (16..=200).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                Ok(())
            }
            _ => Err("`token` is the device's, in hexadecimal".to_owned()),
        }
    }

    async fn send(&self, target: &Target, push: &Outgoing<'_>) -> Outcome {
        let body = fit(push.notice, LONGEST, |notice| payload(notice, push));
        let Some(body) = body else { return Outcome::Rejected("the texts are too long".to_owned()) };
        match self.try_once(target.address(), push, &body).await {
            // It expired sooner than it should, by Apple's clock.
            Err((_, issued)) if issued.elapsed() >= RENEW_AT_EARLIEST => {
                self.forget(issued);
                self.try_once(target.address(), push, &body).await.unwrap_or_else(|(outcome, _)| outcome)
            }
            Err((outcome, _)) | Ok(outcome) => outcome,
        }
    }
}

impl Sender {
    /// `Err` if the provider token has expired: what to make of that, and when it was issued.
    async fn try_once(
        &self,
        device: &str,
        push: &Outgoing<'_>,
        body: &[u8],
    ) -> Result<Outcome, (Outcome, Instant)> {
        let Some((token, issued)) = self.provider_token() else {
            return Ok(Outcome::Retry { reason: "no randomness".to_owned(), after: None });
        };
        let expires = match push.ttl.as_secs() {
            // Now or never.
            0 => 0,
            seconds => push.timestamp / 1_000 + seconds,
        };
        let mut request = self
            .client
            .post(format!("{}/3/device/{device}", self.apns.base))
            .bearer_auth(&*token)
            .header("apns-topic", &self.apns.topic)
            .header("apns-push-type", "alert")
            .header("apns-priority", if push.notice.urgency == Urgency::Low { "5" } else { "10" })
            .header("apns-expiration", expires.to_string());
        if let Some(collapse) = push.collapse {
            request = request.header("apns-collapse-id", topic(push.room_id, collapse));
        }
        match Answer::to(request.body(body.to_vec())).await {
            Err(outcome) => Ok(outcome),
            Ok(answer) => match outcome(&answer) {
                Said::Expired(outcome) => Err((outcome, issued)),
                Said::Plainly(outcome) => Ok(outcome),
            },
        }
    }

    /// The token and when it was issued: one for all, for Apple refuses who makes too many.
    fn provider_token(&self) -> Option<(Arc<str>, Instant)> {
        let mut kept = self.token.lock();
        if let Some((token, issued)) = kept.as_ref().filter(|(_, issued)| issued.elapsed() < RENEW_AFTER) {
            return Some((Arc::clone(token), *issued));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let header = json!({ "kid": self.apns.key_id });
        let token = self.apns.key.sign(header, &json!({ "iss": self.apns.team_id, "iat": now }))?;
        let fresh = (Arc::<str>::from(token), Instant::now());
        *kept = Some(fresh.clone());
        Some(fresh)
    }

    /// Forgets the token that was issued then.
    fn forget(&self, issued: Instant) {
        let mut kept = self.token.lock();
        if kept.as_ref().is_some_and(|(_, other)| *other == issued) {
            *kept = None;
        }
    }
}

fn payload(notice: &Notice, push: &Outgoing<'_>) -> Vec<u8> {
    let mut alert = json!({ "title": notice.title });
    if !notice.body.is_empty() {
        alert["body"] = notice.body.as_str().into();
    }
    let mut aps = json!({ "alert": alert, "thread-id": push.room_id });
    if notice.urgency != Urgency::Low {
        aps["sound"] = "default".into();
    }
    let mut own = json!({ "roomId": push.room_id, "event": push.event, "timestamp": push.timestamp });
    if let Some(position) = push.position {
        own["position"] = json!(position);
    }
    if let Some(url) = &notice.url {
        own["url"] = url.as_str().into();
    }
    if let Some(data) = notice.data.as_deref().and_then(|data| serde_json::from_str::<Value>(data).ok()) {
        own["data"] = data;
    }
    json!({ "aps": aps, "dialogue": own }).to_string().into_bytes()
}

/// What an answer says, of the device or of the provider token.
enum Said {
    Plainly(Outcome),
    /// The provider token is too old; what to make of it if it isn't.
    Expired(Outcome),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reason {
    reason: String,
    /// Since when a token is no longer valid, in Unix milliseconds.
    timestamp: Option<u64>,
}

/// Apple's "Handling notification responses from APNs", as a table.
fn outcome(answer: &Answer) -> Said {
    let Reason { reason, timestamp } = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = match reason.is_empty() {
        true => answer.words(),
        false => format!("{} {}", answer.status.as_u16(), reason.chars().take(64).collect::<String>()),
    };
    Said::Plainly(match (answer.status.as_u16(), reason.as_str()) {
        (200, _) => Outcome::Delivered,
        (410, _) => Outcome::Gone(timestamp.map(|at| UNIX_EPOCH + Duration::from_millis(at))),
        (400, "BadDeviceToken" | "DeviceTokenNotForTopic") => Outcome::Suspend(said),
        (
            400,
            "BadTopic" | "MissingTopic" | "TopicDisallowed" | "BadCertificate" | "BadCertificateEnvironment",
        ) => Outcome::Misconfigured(said),
        (403, "ExpiredProviderToken") => return Said::Expired(Outcome::Misconfigured(said)),
        (403, _) => Outcome::Misconfigured(said),
        (429, "TooManyProviderTokenUpdates") => {
            Outcome::Throttled { reason: said, after: answer.retry_after.unwrap_or(RENEW_AT_EARLIEST) }
        }
        // Too many to this device.
        (429, _) | (500.., _) => answer.retry(said),
        _ => Outcome::Rejected(said),
    })
}

impl fmt::Debug for Apns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apns").field("topic", &self.topic).field("base", &self.base).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, convert::Infallible};

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use futures_util::future::join_all;
    use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
    use hyper::{body::Incoming, service::service_fn};
    use hyper_util::{
        rt::{TokioExecutor, TokioIo},
        server::conn::auto,
    };
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
    };
    use tokio::net::TcpListener;

    use super::*;

    /// The provider tokens that Apple was shown, and those that it no longer takes.
    #[derive(Default)]
    struct Apple {
        shown: Mutex<BTreeSet<String>>,
        over: Mutex<BTreeSet<String>>,
    }

    impl Apple {
        fn answer(&self, headers: &HeaderMap) -> Response<String> {
            let token = headers[AUTHORIZATION].to_str().unwrap().to_owned();
            let (status, body) = match self.over.lock().contains(&token) {
                true => (403, r#"{"reason":"ExpiredProviderToken"}"#),
                false => (200, ""),
            };
            self.shown.lock().insert(token);
            Response::builder().status(status).body(body.to_owned()).unwrap()
        }

        /// Serves without TLS; yields what sends there.
        async fn serve(self: &Arc<Self>) -> Sender {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let apple = Arc::clone(self);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let apple = Arc::clone(&apple);
                    let answer = service_fn(move |request: Request<Incoming>| {
                        std::future::ready(Ok::<_, Infallible>(apple.answer(request.headers())))
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    tokio::spawn(async move {
                        server.serve_connection(TokioIo::new(stream), answer).await.unwrap();
                    });
                }
            });
            let key =
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
            let key = STANDARD.encode(key.as_ref());
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
            let apns = Apns::from_p8(&pem, "KEY", "TEAM", "com.acme.app").unwrap();
            apns.at(url).open(&Trust::default()).unwrap()
        }
    }

    /// Sends to many devices at once.
    async fn send(sender: &Sender) -> Vec<Outcome> {
        let (notice, target) = (Notice::new("title", "body"), Target::Token("a".repeat(64)));
        let push = Outgoing {
            notice: &notice,
            room_id: "alerts",
            event: "alert",
            position: None,
            timestamp: 0,
            ttl: Duration::from_secs(60),
            collapse: None,
        };
        join_all((0..20).map(|_| Provider::send(sender, &target, &push))).await
    }

    #[tokio::test]
    async fn a_provider_token_that_has_expired_is_renewed_once_for_all() {
        let apple = Arc::new(Apple::default());
        let sender = apple.serve().await;
        assert_eq!(send(&sender).await, vec![Outcome::Delivered; 20]);
        tokio::time::pause();
        tokio::time::advance(RENEW_AT_EARLIEST + Duration::from_secs(1)).await;
        tokio::time::resume();
        *apple.over.lock() = apple.shown.lock().clone();
        assert_eq!(send(&sender).await, vec![Outcome::Delivered; 20]);
        assert_eq!(apple.shown.lock().len(), 2);
    }

    #[tokio::test]
    async fn a_young_one_is_not_renewed() {
        let apple = Arc::new(Apple::default());
        let sender = apple.serve().await;
        send(&sender).await;
        *apple.over.lock() = apple.shown.lock().clone();
        let outcomes = send(&sender).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Misconfigured(_))), "{outcomes:?}");
        assert_eq!(apple.shown.lock().len(), 1);
    }
}
