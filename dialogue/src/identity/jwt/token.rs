//! A token in its parts, and why it is refused.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;

use crate::AuthError;

/// A token before anything in it is believed (RFC 7515, section 7.1: the compact serialization).
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// What was signed.
    pub(super) message: &'a str,
    pub(super) signature: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// Bytes of a token. Those in use have one or two thousand.
const LONGEST: usize = 16 * 1024;

impl<'a> Token<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, Refused> {
        if token.len() > LONGEST {
            return Err(Refused::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
        // A fourth part has a `.` in the payload, which base64 has not.
        let (_, payload) = message.split_once('.').ok_or(Refused::Malformed)?;
        // `none` is no algorithm that it knows.
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Malformed)?;
        if header.crit.is_some() {
            return Err(Refused::Critical);
        }
        Ok(Token {
            algorithm: header.alg,
            kid: header.kid,
            message,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refused::Malformed)?,
            payload: URL_SAFE_NO_PAD.decode(payload).map_err(|_| Refused::Malformed)?,
        })
    }
}

/// Why a token is refused. Never says anything of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Malformed,
    Critical,
    Key,
    Signature,
    NoExpiry,
    Expired,
    Early,
    Audience,
    Issuer,
    Subject,
    Reserved,
    Roles,
    Claims,
    /// Not the token's fault.
    #[cfg(feature = "jwks")]
    NoKeys,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Malformed => "it is too long, not a signed JWT, or of an unknown algorithm",
            Refused::Critical => {
                "its header has `crit`, of which nothing is understood (RFC 7515, section 4.1.11)"
            }
            Refused::Key => "no key is for its `alg` and `kid`",
            Refused::Signature => "its signature is wrong",
            Refused::NoExpiry => "it has no `exp`",
            Refused::Expired => "it has expired",
            Refused::Early => "its `nbf` is still to come",
            Refused::Audience => "its `aud` is not ours",
            Refused::Issuer => "its `iss` is not ours",
            Refused::Subject => "it has no `sub`",
            Refused::Reserved => "its `sub` is empty, reserved, too long or has control characters",
            Refused::Roles => "its claim for roles is no list of strings",
            Refused::Claims => "its claims don't have the form that the application asks for",
            #[cfg(feature = "jwks")]
            Refused::NoKeys => "the key server can't be reached",
        })
    }
}

impl From<Refused> for AuthError {
    fn from(refused: Refused) -> Self {
        match refused {
            #[cfg(feature = "jwks")]
            Refused::NoKeys => AuthError::Unavailable,
            _ => AuthError::Rejected,
        }
    }
}
