//! The provider of the Apple Push Notification service (APNs): its HTTP/2 API with a provider token.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dialogue_core::{
    notification::{Notification, Urgency},
    push::{Provider, PushMessage, PushTarget, SendOutcome},
};
use http::{Request, header::AUTHORIZATION};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    ProviderError,
    http::{HttpClient, HttpVersions, ProviderResponse},
    jws::SigningKey,
};

/// Pushes to Apple's devices through the Apple Push Notification service, authenticated by a `.p8` key.
///
/// ```no_run
/// use dialogue::push::{Apns, Push};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = std::fs::read_to_string("AuthKey_ABC123DEFG.p8")?;
/// let push = Push::new().provider(Apns::from_p8(&key, "ABC123DEFG", "DEF123GHIJ", "com.acme.app")?);
/// # let _ = push;
/// # Ok(())
/// # }
/// ```
#[must_use = "a provider does nothing until `Push::provider` takes it"]
pub struct Apns {
    key: SigningKey,
    key_id: String,
    team_id: String,
    topic: String,
    base_url: String,
    client: HttpClient,
    /// The provider token, and the time at which it was issued.
    token: Mutex<Option<(Arc<str>, Instant)>>,
}

const PRODUCTION: &str = "https://api.push.apple.com";
const SANDBOX: &str = "https://api.sandbox.push.apple.com";
/// The maximum of bytes of a payload.
const MAX_PAYLOAD_BYTES: usize = 4_096;
/// The age at which a provider token is replaced. Apple accepts one for up to an hour.
const TOKEN_LIFETIME: Duration = Duration::from_secs(50 * 60);
/// The least age at which a provider token may be replaced. Apple refuses more frequent updates.
const MIN_TOKEN_LIFETIME: Duration = Duration::from_secs(20 * 60);

impl Apns {
    /// The provider's name, with which devices register.
    pub const NAME: &str = "apns";

    /// Creates the provider from the key in a `.p8` file, its id, the team's id, and the app's bundle id.
    ///
    /// # Errors
    ///
    /// The key can't be read, or an id has invalid characters.
    pub fn from_p8(
        pem: &str,
        key_id: impl Into<String>,
        team_id: impl Into<String>,
        bundle_id: impl Into<String>,
    ) -> Result<Self, ProviderError> {
        let (key_id, team_id, topic) = (key_id.into(), team_id.into(), bundle_id.into());
        if [&key_id, &team_id, &topic].iter().any(|text| !is_valid_id(text)) {
            return Err(ProviderError::new(
                "the key's id, the team's id or the bundle id is invalid; they have 1 to 255 letters, digits, `.` and `-`",
            ));
        }
        Ok(Apns {
            key: SigningKey::es256(pem)?,
            key_id,
            team_id,
            topic,
            base_url: PRODUCTION.to_owned(),
            client: HttpClient::new(HttpVersions::Http2),
            token: Mutex::default(),
        })
    }

    /// Uses Apple's development environment, which has device tokens of its own: for apps that Xcode installed.
    pub fn sandbox(self) -> Self {
        self.base_url(SANDBOX)
    }

    /// Sets the base URL: `https://api.push.apple.com` by default. For port 2197 or a gateway.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into().trim_end_matches('/').to_owned();
        self
    }

    /// Trusts the root certificates in `pem` in addition to the system's: that of a gateway in a private network, for
    /// example. Each call adds some.
    ///
    /// # Errors
    ///
    /// There is no certificate in `pem`, or one can't be read.
    pub fn root_certificate(mut self, pem: impl AsRef<str>) -> Result<Self, ProviderError> {
        self.client = self.client.root_certificate(pem.as_ref())?;
        Ok(self)
    }
}

fn is_valid_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
}

impl Provider for Apns {
    fn name(&self) -> &'static str {
        Apns::NAME
    }

    /// All sends share one connection, on which Apple's servers allow about 1,000 concurrent streams.
    fn concurrency(&self) -> usize {
        500
    }

    fn check(&self, target: &PushTarget) -> Result<(), String> {
        match target {
            PushTarget::Token(token)
                if (16..=200).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                Ok(())
            }
            _ => Err("`token` has to be the device token in hexadecimal".to_owned()),
        }
    }

    async fn send(&self, target: &PushTarget, message: &PushMessage<'_>) -> SendOutcome {
        let body = message.fit(MAX_PAYLOAD_BYTES, |notification| payload(notification, message));
        let Some(body) = body else {
            return SendOutcome::Rejected(
                "the notification is too long, even without its data and body".to_owned(),
            );
        };
        match self.try_once(target.address(), message, &body).await {
            // Apple's clock is ahead, and the token expired early.
            Err((_, issued)) if issued.elapsed() >= MIN_TOKEN_LIFETIME => {
                self.forget(issued);
                self.try_once(target.address(), message, &body).await.unwrap_or_else(|(outcome, _)| outcome)
            }
            Err((outcome, _)) | Ok(outcome) => outcome,
        }
    }
}

impl Apns {
    /// Sends once. `Err` if the provider token has expired, with the outcome for the case that a new one may not be
    /// made yet, and the time at which the token was issued.
    async fn try_once(
        &self,
        device: &str,
        message: &PushMessage<'_>,
        body: &[u8],
    ) -> Result<SendOutcome, (SendOutcome, Instant)> {
        let Some((token, issued)) = self.provider_token() else {
            return Ok(SendOutcome::Retry {
                reason: "the system's random number generator fails".to_owned(),
                after: None,
            });
        };
        let expires = match message.ttl.as_secs() {
            // 0 makes APNs try to deliver it once, and not store it.
            0 => 0,
            seconds => message.timestamp / 1_000 + seconds,
        };
        let mut request = Request::post(format!("{}/3/device/{device}", self.base_url))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header("apns-topic", &self.topic)
            .header("apns-push-type", "alert")
            .header("apns-priority", if message.notification.urgency == Urgency::Low { "5" } else { "10" })
            .header("apns-expiration", expires.to_string());
        if let Some(topic) = message.topic() {
            request = request.header("apns-collapse-id", topic);
        }
        match self.client.send(request, body.to_vec()).await {
            Err(outcome) => Ok(outcome),
            Ok(response) => match meaning(&response) {
                Meaning::ExpiredToken(outcome) => Err((outcome, issued)),
                Meaning::Outcome(outcome) => Ok(outcome),
            },
        }
    }

    /// Returns the provider token and the time at which it was issued. All sends share one, since Apple refuses
    /// frequent updates.
    fn provider_token(&self) -> Option<(Arc<str>, Instant)> {
        let mut cached = self.token.lock();
        if let Some((token, issued)) = cached.as_ref().filter(|(_, issued)| issued.elapsed() < TOKEN_LIFETIME)
        {
            return Some((Arc::clone(token), *issued));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let header = json!({ "kid": self.key_id });
        let token = self.key.sign(header, &json!({ "iss": self.team_id, "iat": now }))?;
        let fresh = (Arc::<str>::from(token), Instant::now());
        *cached = Some(fresh.clone());
        Some(fresh)
    }

    /// Drops the token that was issued at this time, if it is still the current one.
    fn forget(&self, issued: Instant) {
        let mut cached = self.token.lock();
        if cached.as_ref().is_some_and(|(_, other)| *other == issued) {
            *cached = None;
        }
    }
}

fn payload(notification: &Notification, message: &PushMessage<'_>) -> Vec<u8> {
    let mut alert = json!({ "title": notification.title });
    if !notification.body.is_empty() {
        alert["body"] = notification.body.as_str().into();
    }
    let mut aps = json!({ "alert": alert, "thread-id": message.room_id });
    if notification.urgency != Urgency::Low {
        aps["sound"] = "default".into();
    }
    let mut app_data =
        json!({ "roomId": message.room_id, "event": message.event, "timestamp": message.timestamp });
    if let Some(position) = message.position {
        app_data["position"] = json!(position);
    }
    if let Some(url) = &notification.url {
        app_data["url"] = url.as_str().into();
    }
    if let Some(data) = notification.json_data().and_then(|data| serde_json::from_str::<Value>(data).ok()) {
        app_data["data"] = data;
    }
    json!({ "aps": aps, "dialogue": app_data }).to_string().into_bytes()
}

/// The meaning of a response.
enum Meaning {
    Outcome(SendOutcome),
    /// The provider token has expired; with the outcome if it can't be replaced.
    ExpiredToken(SendOutcome),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorBody {
    reason: String,
    /// The time since which a device's token is invalid, in Unix milliseconds.
    timestamp: Option<u64>,
}

/// Maps a response to its meaning, after [Handling notification responses from APNs][doc].
///
/// [doc]: https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
fn meaning(response: &ProviderResponse) -> Meaning {
    let ErrorBody { reason: code, timestamp } = serde_json::from_slice(&response.body).unwrap_or_default();
    let reason = match code.is_empty() {
        true => response.summary(),
        false => format!("{} {}", response.status.as_u16(), code.chars().take(64).collect::<String>()),
    };
    Meaning::Outcome(match (response.status.as_u16(), code.as_str()) {
        (200, _) => SendOutcome::Delivered,
        (410, _) => SendOutcome::Unregistered(timestamp.map(|at| UNIX_EPOCH + Duration::from_millis(at))),
        (400, "BadDeviceToken" | "DeviceTokenNotForTopic") => SendOutcome::InvalidTarget(reason),
        (
            400,
            "BadTopic" | "MissingTopic" | "TopicDisallowed" | "BadCertificate" | "BadCertificateEnvironment",
        ) => SendOutcome::Misconfigured(reason),
        (403, "ExpiredProviderToken") => return Meaning::ExpiredToken(SendOutcome::Misconfigured(reason)),
        (403, _) => SendOutcome::Misconfigured(reason),
        (429, "TooManyProviderTokenUpdates") => {
            SendOutcome::Throttled { reason, after: response.retry_after.unwrap_or(MIN_TOKEN_LIFETIME) }
        }
        // `TooManyRequests`: too many to this device.
        (429, _) | (500.., _) => response.retry_outcome(reason),
        _ => SendOutcome::Rejected(reason),
    })
}

impl fmt::Debug for Apns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apns")
            .field("topic", &self.topic)
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
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

    /// A fake of APNs, with the provider tokens that it was sent, and those that have expired.
    #[derive(Default)]
    struct FakeApns {
        received: Mutex<BTreeSet<String>>,
        expired: Mutex<BTreeSet<String>>,
    }

    impl FakeApns {
        fn answer(&self, headers: &HeaderMap) -> Response<String> {
            let token = headers[AUTHORIZATION].to_str().unwrap().to_owned();
            let (status, body) = match self.expired.lock().contains(&token) {
                true => (403, r#"{"reason":"ExpiredProviderToken"}"#),
                false => (200, ""),
            };
            self.received.lock().insert(token);
            Response::builder().status(status).body(body.to_owned()).unwrap()
        }

        /// Serves HTTP/2 without TLS, and returns a provider that sends there.
        async fn serve(self: &Arc<Self>) -> Apns {
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
            apns.base_url(url)
        }
    }

    /// Sends to 20 devices at once.
    async fn send(sender: &Apns) -> Vec<SendOutcome> {
        let (notification, target) = (Notification::new("title", "body"), PushTarget::Token("a".repeat(64)));
        let message = PushMessage::new(&notification, "alerts", "alert", 0);
        join_all((0..20).map(|_| Provider::send(sender, &target, &message))).await
    }

    #[tokio::test]
    async fn an_expired_provider_token_is_replaced_once_for_all_sends() {
        let apple = Arc::new(FakeApns::default());
        let sender = apple.serve().await;
        assert_eq!(send(&sender).await, vec![SendOutcome::Delivered; 20]);
        tokio::time::pause();
        tokio::time::advance(MIN_TOKEN_LIFETIME + Duration::from_secs(1)).await;
        tokio::time::resume();
        *apple.expired.lock() = apple.received.lock().clone();
        assert_eq!(send(&sender).await, vec![SendOutcome::Delivered; 20]);
        assert_eq!(apple.received.lock().len(), 2);
    }

    #[tokio::test]
    async fn a_young_provider_token_is_not_replaced() {
        let apple = Arc::new(FakeApns::default());
        let sender = apple.serve().await;
        send(&sender).await;
        *apple.expired.lock() = apple.received.lock().clone();
        let outcomes = send(&sender).await;
        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, SendOutcome::Misconfigured(_))),
            "{outcomes:?}"
        );
        assert_eq!(apple.received.lock().len(), 1);
    }
}
