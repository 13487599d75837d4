//! Signing in, for the demo.

use std::time::{Duration, SystemTime};

use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
pub use dialogue::identity::jwt::Claims;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::app::App;

/// Time for which a token is good.
const GOOD_FOR: Duration = Duration::from_secs(12 * 60 * 60);

/// The permissions of a user.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Answers all tickets.
    Agent,
    /// Opens tickets, and sees their own.
    Customer,
}

/// The body of `POST /api/sign-in`.
#[derive(Debug, Deserialize)]
pub struct SignIn {
    name: String,
    role: Role,
}

/// The answer to it.
#[derive(Debug, Serialize)]
pub struct SignedIn {
    token: String,
}

/// Signs a token for whoever asks, in whatever role: a real desk checks a password here, or leaves this to its identity
/// provider.
pub async fn sign_in(State(app): State<App>, Json(SignIn { name, role }): Json<SignIn>) -> Json<SignedIn> {
    Json(SignedIn { token: token(app.jwt_secret(), &name, role) })
}

/// Returns a JSON Web Token for the user, signed by HS256.
fn token(secret: &[u8], user: &str, role: Role) -> String {
    let expires = SystemTime::now() + GOOD_FOR;
    let expires = expires.duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970").as_secs();
    let claims = serde_json::json!({ "sub": user, "roles": [role], "exp": expires });
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let body = URL_SAFE_NO_PAD.encode(claims.to_string());
    let mut signature = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    signature.update(format!("{head}.{body}").as_bytes());
    format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode(signature.finalize().into_bytes()))
}
