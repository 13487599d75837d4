//! The parts of a token, and the errors of its verification.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dialogue_core::identity::AuthError;
use jsonwebtoken::Algorithm;

/// A parsed but unverified token (RFC 7515, section 7.1: the compact serialization).
pub(super) struct UnverifiedToken<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// The signed part: header and payload.
    pub(super) message: &'a str,
    pub(super) signature: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// The maximum length of a token. Usual tokens have one or two thousand bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

impl<'a> UnverifiedToken<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        // A fourth part leaves a `.` in the payload, which fails as base64.
        let (_, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        // Fails for the algorithm `none`, which the library does not know.
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::CriticalHeader);
        }
        Ok(UnverifiedToken {
            algorithm: header.alg,
            kid: header.kid,
            message,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?,
            payload: URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Malformed)?,
        })
    }
}

/// The reason for which a token is refused. Its text contains nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenError {
    Malformed,
    CriticalHeader,
    UnknownKey,
    Signature,
    NoExpiry,
    Expired,
    NotYetValid,
    Audience,
    Issuer,
    NoSubject,
    InvalidSubject,
    Roles,
    Claims,
    /// The key server can't be reached, so that the token can't be checked.
    #[cfg_attr(
        not(feature = "jwks"),
        expect(dead_code, reason = "only keys behind a URL can be out of reach")
    )]
    NoKeys,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenError::Malformed => "it is too long, not a signed JWT, or of an unknown algorithm",
            TokenError::CriticalHeader => {
                "its header has `crit`, and no extension is supported (RFC 7515, section 4.1.11)"
            }
            TokenError::UnknownKey => "no key has its `alg` and `kid`",
            TokenError::Signature => "its signature is wrong",
            TokenError::NoExpiry => "it has no `exp`",
            TokenError::Expired => "it has expired",
            TokenError::NotYetValid => "its `nbf` is in the future",
            TokenError::Audience => "its `aud` is not an accepted audience",
            TokenError::Issuer => "its `iss` is not an accepted issuer",
            TokenError::NoSubject => "it has no `sub`",
            TokenError::InvalidSubject => "its `sub` is empty, reserved, too long or has control characters",
            TokenError::Roles => "its claim for roles is not a list of strings",
            TokenError::Claims => "its claims don't have the type that the application requires",
            TokenError::NoKeys => "the key server can't be reached",
        })
    }
}

impl From<TokenError> for AuthError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::NoKeys => AuthError::Unavailable,
            _ => AuthError::Rejected,
        }
    }
}
