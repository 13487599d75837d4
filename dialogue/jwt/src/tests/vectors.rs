//! Tests with tokens of other implementations: the authors of the RFCs (7515, appendix A; 8037, appendix A.4), and
//! PyJWT 2 with OpenSSL.

use serde_json::{Value, json};

use super::*;
use crate::{Keys, TokenError, UnverifiedToken};

fn rfc(name: &str) -> (Value, String) {
    let mut all: Value = serde_json::from_str(include_str!("rfc.json")).expect("JSON");
    let vector = all[name].take();
    (vector["key"].clone(), vector["token"].as_str().expect("a token").to_owned())
}

fn keys(jwk: Value) -> Keys {
    if jwk["kty"] == "oct" { Keys::secret(jwk) } else { Keys::set(set(&[jwk]).as_bytes()).expect("a set") }
}

const RFCS: [&str; 4] = ["RFC 7515, A.1", "RFC 7515, A.2", "RFC 7515, A.3", "RFC 8037, A.4"];

#[test]
fn signatures_of_the_rfcs_are_right() {
    for name in RFCS {
        let (key, token) = rfc(name);
        let token = UnverifiedToken::parse(&token).expect(name);
        assert_eq!(keys(key).check(&token), Ok(()), "{name}");
    }
}

#[test]
fn changed_tokens_of_the_rfcs_are_wrong() {
    for name in RFCS {
        let (key, token) = rfc(name);
        let keys = keys(key);
        let mut parsed = UnverifiedToken::parse(&token).expect(name);
        parsed.message = parsed.message.get(1..).expect("more than one");
        assert_eq!(keys.check(&parsed), Err(TokenError::Signature), "{name}: another message");

        let mut parsed = UnverifiedToken::parse(&token).expect(name);
        for at in 0..parsed.signature.len() {
            parsed.signature[at] ^= 1;
            assert_eq!(
                keys.check(&parsed),
                Err(TokenError::Signature),
                "{name}: another byte {at} of the signature"
            );
            parsed.signature[at] ^= 1;
        }
        parsed.signature.clear();
        assert_eq!(keys.check(&parsed), Err(TokenError::Signature), "{name}: no signature");
    }
}

#[test]
fn a_key_verifies_no_other_algorithm() {
    for own in RFCS {
        let keys = keys(rfc(own).0);
        for other in RFCS.into_iter().filter(|other| *other != own) {
            let (_, token) = rfc(other);
            assert_eq!(
                keys.check(&UnverifiedToken::parse(&token).expect(other)),
                Err(TokenError::UnknownKey),
                "{own}, {other}"
            );
        }
    }
}

fn pyjwt() -> [(Jwt, &'static str); 4] {
    [
        (Jwt::hs256(SECRET), include_str!("pyjwt/hs256.jwt")),
        (Jwt::rs256_pem(include_str!("pyjwt/rs256.pem")).expect("a key"), include_str!("pyjwt/rs256.jwt")),
        (Jwt::es256_pem(include_str!("pyjwt/es256.pem")).expect("a key"), include_str!("pyjwt/es256.jwt")),
        (Jwt::eddsa_pem(include_str!("pyjwt/eddsa.pem")).expect("a key"), include_str!("pyjwt/eddsa.jwt")),
    ]
}

#[tokio::test]
async fn tokens_of_pyjwt_authenticate_the_user() {
    for (jwt, token) in pyjwt() {
        let user = authenticate(&jwt, token.trim()).await.expect("a user");
        assert_eq!(
            (user.user_id.as_str(), user.roles.as_slice()),
            ("alice", ["member".to_owned()].as_slice())
        );
        let expires =
            user.expires.expect("an expiry").duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        assert_eq!(expires.as_secs(), LATER);
        assert_eq!((user.identity.sub.as_str(), user.identity.roles.len()), ("alice", 1));
        assert_eq!(user.identity.rest["exp"], json!(LATER));
    }
}

#[tokio::test]
async fn keys_of_pyjwt_are_a_set() {
    let jwt = Jwt::jwks_file(concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/pyjwt/jwks.json"));
    let jwt = jwt.expect("a set");
    for (_, token) in pyjwt().into_iter().skip(1) {
        assert_eq!(user_id_of(&jwt, token.trim()).await.as_deref(), Ok("alice"));
    }
    // The same set can't be made to verify by its own public bytes.
    assert_eq!(user_id_of(&jwt, include_str!("pyjwt/hs256.jwt").trim()).await, Err(AuthError::Rejected));
}

#[test]
fn keys_of_another_type_are_refused() {
    let p256 = include_str!("pyjwt/es256.pem");
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
    assert!(Jwt::rs256_pem(include_str!("pyjwt/rsa1024.pem")).is_err());
    assert!(Jwt::es256_pem(include_str!("pyjwt/p384.pem")).is_err());
    for wrong in [p256, private, "", "garbage"] {
        assert!(Jwt::rs256_pem(wrong).is_err());
        assert!(Jwt::eddsa_pem(wrong).is_err());
    }
    let error = Jwt::es256_pem(private).expect_err("a private key").to_string();
    assert!(error.contains("private") && !error.contains("AAAA"), "{error}");
}

#[test]
fn keys_for_other_purposes_are_ignored() {
    let key = Issuer::new("a").jwk();
    let with = |name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        Keys::set(set(&[key]).as_bytes()).is_ok()
    };
    assert!(with("use", json!("sig")) && with("alg", json!("EdDSA")) && with("key_ops", json!(["verify"])));
    assert!(!with("use", json!("enc")) && !with("alg", json!("ES256")) && !with("key_ops", json!(["sign"])));
    assert!(!with("crv", json!("Ed448")) && !with("x", json!("AAAA")) && !with("kty", json!("oct")));
    let secret = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s"});
    assert!(Keys::set(set(&[secret.clone(), json!({"kty": "new"}), json!(7)]).as_bytes()).is_err());
    assert!(Keys::set(set(&[secret, json!({"kty": "new"}), json!(7), key]).as_bytes()).is_ok());
}
