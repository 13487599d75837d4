//! The tokens that this example signs for itself. An application gets them from its identity provider, and needs no more of
//! this than a line with `Jwt`.

use std::{
    env,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use serde::Serialize;
use serde_json::{Value, json};

/// Signs JSON Web Tokens with HS256 (RFC 7515).
pub(crate) struct Tokens {
    secret: Vec<u8>,
    life: Duration,
}

impl Tokens {
    /// With the secret `JWT_SECRET`, or else one that ends with the process, and the tokens with it. They hold for
    /// `TOKEN_SECONDS`, or else an hour.
    pub(crate) fn from_env() -> Self {
        let seconds = env::var("TOKEN_SECONDS").ok().and_then(|text| text.parse().ok());
        let secret = env::var("JWT_SECRET").map(String::into_bytes);
        Tokens {
            secret: secret.unwrap_or_else(|_| random::<32>().into()),
            life: Duration::from_secs(seconds.unwrap_or(3_600)),
        }
    }

    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// A token for a user of whom it says `claims` too.
    pub(crate) fn sign(&self, user_id: &str, claims: &impl Serialize, roles: &[String]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut payload = json!({ "sub": user_id, "roles": roles, "iat": now.as_secs(), "exp": (now + self.life).as_secs() });
        if let (Value::Object(all), Ok(Value::Object(more))) = (&mut payload, serde_json::to_value(claims)) {
            all.extend(more);
        }
        let header = json!({ "alg": "HS256", "typ": "JWT" });
        let [header, payload] = [header, payload].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{payload}");
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.secret), message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Random bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has random bytes");
    bytes
}
