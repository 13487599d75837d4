//! Google: access tokens, and FCM's HTTP v1 API.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ring::signature::RSA_PKCS1_2048_8192_SHA256;
use serde_json::{Value, json};

use super::{Answer, Check, Seen, Service, jws};
use crate::Result;

const KEY: &str = include_str!("../keys/rsa.pem");
const EMAIL: &str = "push@acme.iam.gserviceaccount.example";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

pub(crate) struct Google {
    pub(crate) service: Service,
    /// How many access tokens it gave out.
    granted: Arc<AtomicU64>,
    /// Up to which of them they are withdrawn.
    withdrawn: Arc<AtomicU64>,
}

impl Google {
    pub(crate) async fn start() -> Result<Self> {
        let (granted, withdrawn) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (count, gone) = (Arc::clone(&granted), Arc::clone(&withdrawn));
        let check: Check = Box::new(move |seen| {
            match seen.path.as_str() {
            "/token" => grant(seen).map(|()| {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let granted = json!({ "access_token": format!("ya29.{number}"), "expires_in": 3599, "token_type": "Bearer" });
                Answer::new(200, granted.to_string())
            }),
            "/v1/projects/acme/messages:send" => {
                let bearer = seen.header("authorization").strip_prefix("Bearer ya29.");
                let number: Option<u64> = bearer.and_then(|number| number.parse().ok());
                let good = gone.load(Ordering::SeqCst) + 1..=count.load(Ordering::SeqCst);
                match number {
                    Some(number) if good.contains(&number) => accept(seen),
                    _ => Err(error(401, "UNAUTHENTICATED", None)),
                }
            }
            _ => Err(Answer::new(404, "<html>not found</html>")),
        }
        });
        Ok(Google { service: Service::start(check).await?, granted, withdrawn })
    }

    pub(crate) fn account(&self) -> String {
        json!({
            "type": "service_account",
            "project_id": "acme",
            "private_key_id": "k1",
            "private_key": KEY,
            "client_email": EMAIL,
            "token_uri": format!("{}/token", self.service.url()),
        })
        .to_string()
    }

    pub(crate) fn granted(&self) -> u64 {
        self.granted.load(Ordering::SeqCst)
    }

    /// No token that was given out is good any more.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(self.granted(), Ordering::SeqCst);
    }

    /// The next message; requests for tokens are passed over.
    pub(crate) async fn message(&self) -> Result<Seen> {
        loop {
            let seen = self.service.next().await?;
            if seen.path != "/token" {
                return Ok(seen);
            }
        }
    }
}

/// An error as FCM writes it.
pub(crate) fn error(status: u16, name: &str, code: Option<&str>) -> Answer {
    let details: Vec<Value> = code
        .into_iter()
        .map(|code| json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code }))
        .collect();
    let body = json!({ "error": { "code": status, "message": "…", "status": name, "details": details } });
    Answer::new(status, body.to_string())
}

/// RFC 7523, as Google's token endpoint reads it.
fn grant(seen: &Seen) -> Result<(), Answer> {
    let refuse = |why: &str| {
        Answer::new(400, json!({ "error": "invalid_grant", "error_description": why }).to_string())
    };
    let form = String::from_utf8_lossy(&seen.body).into_owned();
    let assertion = form
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .ok_or_else(|| refuse("no assertion"))?;
    if seen.header("content-type") != "application/x-www-form-urlencoded" {
        return Err(refuse("no form"));
    }
    let key = rsa_public_key();
    let (header, claims) = jws::verify(assertion, &RSA_PKCS1_2048_8192_SHA256, &key)
        .ok_or_else(|| refuse("Invalid JWT Signature."))?;
    let (issued, expires) = (claims["iat"].as_u64().unwrap_or(0), claims["exp"].as_u64().unwrap_or(0));
    let audience = claims["aud"].as_str().unwrap_or_default();
    let right = header["alg"] == "RS256"
        && header["kid"] == "k1"
        && claims["iss"] == EMAIL
        && claims["scope"] == SCOPE
        && audience == format!("https://{}/token", seen.host)
        && jws::now().abs_diff(issued) < 60
        && (issued + 1..=issued + 3_600).contains(&expires);
    right.then_some(()).ok_or_else(|| refuse("Invalid JWT"))
}

fn rsa_public_key() -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let base64: String = KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(base64).expect("base64");
    let key = ring::rsa::KeyPair::from_pkcs8(&der).expect("an RSA key");
    key.public().as_ref().to_vec()
}

/// What the API's schema has, as far as it concerns a message to one device.
fn accept(seen: &Seen) -> Result<Answer, Answer> {
    let bad = || error(400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT"));
    let body = seen.json();
    let message = body["message"].as_object().ok_or_else(bad)?;
    let known = ["token", "notification", "data", "android", "apns", "webpush"];
    let texts = |value: &Value| value.as_object().is_some_and(|map| map.values().all(Value::is_string));
    let android = &message["android"];
    let ttl = android["ttl"].as_str().and_then(|ttl| ttl.strip_suffix('s')?.parse::<u64>().ok());
    let size = message["data"].to_string().len() + message["notification"].to_string().len();
    let reserved = |key: &String| key == "from" || key == "message_type" || key.starts_with("google");
    let right = message.keys().all(|key| known.contains(&key.as_str()))
        && body.as_object().is_some_and(|body| body.len() == 1)
        && seen.method == "POST"
        && seen.header("content-type") == "application/json"
        && message["token"].as_str().is_some_and(|token| !token.is_empty())
        && message["notification"]["title"].is_string()
        && texts(&message["data"])
        && message["data"].as_object().is_some_and(|data| !data.keys().any(reserved))
        && ttl.is_some_and(|ttl| ttl <= 2_419_200)
        && ["NORMAL", "HIGH"].iter().any(|known| android["priority"] == *known)
        && texts(&message["apns"]["headers"])
        && texts(&message["webpush"]["headers"])
        && message["webpush"]["fcm_options"]["link"].as_str().is_none_or(|link| link.starts_with("https://"))
        && size <= 4_096;
    if !right {
        return Err(bad());
    }
    Ok(Answer::new(200, r#"{"name":"projects/acme/messages/0:1500415314455276%31bd1c9631bd1c96"}"#))
}
