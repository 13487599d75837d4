//! The key that browsers know the server by.

use std::{env, error::Error};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};

/// The one in `VAPID_KEY`, or a new one.
pub(crate) fn from_env() -> Result<String, Box<dyn Error>> {
    if let Ok(key) = env::var("VAPID_KEY") {
        return Ok(key);
    }
    eprintln!("VAPID_KEY is not set: after a restart, browsers have to ask for notifications again");
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let key = key.map_err(|_| "the system has no randomness")?;
    let base64 = STANDARD.encode(key);
    // Lines of 64 characters (RFC 7468).
    let (first, rest) = base64.split_at(64);
    let (second, third) = rest.split_at(64);
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{first}\n{second}\n{third}\n-----END PRIVATE KEY-----\n"))
}
