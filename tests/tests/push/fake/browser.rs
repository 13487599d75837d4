//! A browser's push service, and the browser.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::ECDSA_P256_SHA256_FIXED;
use serde_json::{Value, json};

use super::{Answer, Check, Seen, Service, jws};
use crate::Result;

pub(crate) struct Browser {
    pub(crate) service: Service,
    /// The server's VAPID key.
    pub(crate) key: String,
    public: Vec<u8>,
}

impl Browser {
    pub(crate) async fn start() -> Result<Self> {
        let (key, public) = jws::ec_key();
        let known = public.clone();
        let check: Check = Box::new(move |seen| accept(seen, &known));
        Ok(Browser { service: Service::start(check).await?, key, public })
    }

    /// The server's public key, as pages are told it.
    pub(crate) fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.public)
    }

    /// What `pushManager.subscribe` yields, with somebody's public key.
    pub(crate) fn subscription(&self, name: &str) -> Value {
        let (_, point) = jws::ec_key();
        json!({
            "endpoint": format!("{}/push/{name}", self.service.url()),
            "expirationTime": null,
            "keys": { "p256dh": URL_SAFE_NO_PAD.encode(point), "auth": URL_SAFE_NO_PAD.encode([7; 16]) },
        })
    }
}

/// RFC 8030, 8188, 8291 and 8292, as far as they can be checked without the browser's private key.
fn accept(seen: &Seen, public: &[u8]) -> Result<Answer, Answer> {
    let bad = |why: &str| Answer::new(400, why);
    if seen.method != "POST" {
        return Err(Answer::new(405, ""));
    }
    signed(seen, public).ok_or_else(|| Answer::new(403, "the VAPID token is not valid"))?;
    seen.header("ttl").parse::<u32>().map_err(|_| bad("no TTL"))?;
    if !["very-low", "low", "normal", "high"].contains(&seen.header("urgency")) {
        return Err(bad("bad urgency"));
    }
    let topic = seen.header("topic");
    if topic.len() > 32 || !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(bad("bad topic"));
    }
    if seen.header("content-encoding") != "aes128gcm" {
        return Err(Answer::new(415, "bad encoding"));
    }
    if seen.body.len() > 4_096 {
        return Err(Answer::new(413, ""));
    }
    // Salt, record size, and a key of 65 bytes that begins as an uncompressed point.
    let framed = seen.body.get(20) == Some(&65) && seen.body.get(21) == Some(&4) && seen.body.len() > 86 + 17;
    framed.then_some(()).ok_or_else(|| bad("bad body"))?;
    Ok(Answer::new(201, "").header("location", "https://localhost/message/1"))
}

fn signed(seen: &Seen, public: &[u8]) -> Option<()> {
    let parameters = seen.header("authorization").strip_prefix("vapid ")?;
    let parameter =
        |name: &str| parameters.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let (token, key) = (parameter("t")?, URL_SAFE_NO_PAD.decode(parameter("k")?).ok()?);
    let (header, claims) = jws::verify(token, &ECDSA_P256_SHA256_FIXED, &key)?;
    let expires = claims["exp"].as_u64()?;
    (key == public
        && header["alg"] == "ES256"
        && header["typ"] == "JWT"
        && claims["aud"] == format!("https://{}", seen.host)
        && expires > jws::now()
        && expires <= jws::now() + 24 * 3_600
        && claims["sub"].as_str()?.starts_with("mailto:"))
    .then_some(())
}
