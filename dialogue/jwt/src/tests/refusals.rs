//! Tests of each refusal, beside the boundary case that is accepted.

use std::time::Duration;

use serde::Deserialize;

use super::*;
use crate::TokenError;

const NOW: u64 = 1_800_000_000;

/// Returns the user's id of `token` at [`NOW`], or the error.
async fn at_now<C>(jwt: &Jwt<C>, token: &str) -> Result<String, TokenError> {
    jwt.authenticate_at(token, Duration::from_secs(NOW)).await.map(|user| user.user_id)
}

fn jwt() -> Jwt {
    Jwt::hs256(SECRET)
}

/// Returns a valid token with one claim changed (or, by `null`, removed).
fn with(name: &str, value: Value) -> String {
    let mut claims = json!({"sub": "alice", "exp": NOW + 60});
    let map = claims.as_object_mut().expect("an object");
    if value.is_null() {
        map.remove(name)
    } else {
        map.insert(name.to_owned(), value)
    };
    hs256(&claims)
}

#[tokio::test]
async fn by_claims() {
    let ok = Ok(());
    let strict = || jwt().audience("chat").audience("talk").issuer("me").issuer("you");
    let both =
        |aud: Value, iss: Value| hs256(&json!({"sub": "alice", "exp": NOW + 60, "aud": aud, "iss": iss}));
    let table = [
        ("in order", jwt(), with("x", json!(1)), ok),
        ("expired by 1 s", jwt(), with("exp", json!(NOW - 1)), Err(TokenError::Expired)),
        ("exp is now", jwt(), with("exp", json!(NOW)), Err(TokenError::Expired)),
        ("exp in 1 s", jwt(), with("exp", json!(NOW + 1)), ok),
        ("exp in 0.5 s", jwt(), with("exp", json!(1_800_000_000.5)), ok),
        ("exp half a second ago", jwt(), with("exp", json!(1_799_999_999.5)), Err(TokenError::Expired)),
        ("exp past any clock", jwt(), with("exp", json!(u64::MAX)), ok),
        ("exp past any number", jwt(), with("exp", json!(1e300)), Err(TokenError::Malformed)),
        ("exp before 1970", jwt(), with("exp", json!(-1)), Err(TokenError::Malformed)),
        ("exp as text", jwt(), with("exp", json!("1900000000")), Err(TokenError::Malformed)),
        ("no exp", jwt(), with("exp", json!(null)), Err(TokenError::NoExpiry)),
        ("no exp, allowed", jwt().without_expiry(), with("exp", json!(null)), ok),
        (
            "exp where none is needed",
            jwt().without_expiry(),
            with("exp", json!(NOW)),
            Err(TokenError::Expired),
        ),
        ("leeway, just", jwt().leeway(Duration::from_secs(5)), with("exp", json!(NOW - 4)), ok),
        (
            "leeway, over",
            jwt().leeway(Duration::from_secs(5)),
            with("exp", json!(NOW - 5)),
            Err(TokenError::Expired),
        ),
        ("nbf in 1 s", jwt(), with("nbf", json!(NOW + 1)), Err(TokenError::NotYetValid)),
        ("nbf is now", jwt(), with("nbf", json!(NOW)), ok),
        ("nbf with leeway", jwt().leeway(Duration::from_secs(5)), with("nbf", json!(NOW + 5)), ok),
        ("nbf as text", jwt(), with("nbf", json!("now")), Err(TokenError::Malformed)),
        ("unexpected aud", jwt(), with("aud", json!("chat")), Err(TokenError::Audience)),
        ("no aud", jwt().audience("chat"), with("aud", json!(null)), Err(TokenError::Audience)),
        ("aud of another", jwt().audience("chat"), with("aud", json!("chatter")), Err(TokenError::Audience)),
        ("aud as number", jwt().audience("7"), with("aud", json!(7)), Err(TokenError::Audience)),
        ("aud empty", jwt().audience("chat"), with("aud", json!([])), Err(TokenError::Audience)),
        ("no iss", jwt().issuer("me"), with("iss", json!(null)), Err(TokenError::Issuer)),
        ("iss of another", jwt().issuer("me"), with("iss", json!("Me")), Err(TokenError::Issuer)),
        ("unexpected iss", jwt(), with("iss", json!("me")), ok),
        ("aud and iss", strict(), both(json!("talk"), json!("you")), ok),
        ("several aud", strict(), both(json!(["x", "chat"]), json!("me")), ok),
        ("none of several aud", strict(), both(json!(["x", "y"]), json!("me")), Err(TokenError::Audience)),
        ("no sub", jwt(), with("sub", json!(null)), Err(TokenError::NoSubject)),
        ("sub as number", jwt(), with("sub", json!(7)), Err(TokenError::NoSubject)),
        ("sub empty", jwt(), with("sub", json!("")), Err(TokenError::InvalidSubject)),
        ("sub of the server", jwt(), with("sub", json!("system")), Err(TokenError::InvalidSubject)),
        ("sub of the anonymous", jwt(), with("sub", json!("anon-1")), Err(TokenError::InvalidSubject)),
        ("sub with a newline", jwt(), with("sub", json!("a\nb")), Err(TokenError::InvalidSubject)),
        ("sub of 128 bytes", jwt(), with("sub", json!("a".repeat(128))), ok),
        ("sub of 129 bytes", jwt(), with("sub", json!("a".repeat(129))), Err(TokenError::InvalidSubject)),
        (
            "sub of 129 bytes, 65 characters",
            jwt(),
            with("sub", json!(format!("a{}", "é".repeat(64)))),
            Err(TokenError::InvalidSubject),
        ),
        ("roles as text", jwt(), with("roles", json!("admin")), Err(TokenError::Roles)),
        ("roles as numbers", jwt(), with("roles", json!([1])), Err(TokenError::Roles)),
        ("roles in another claim", jwt().roles_claim("groups"), with("roles", json!("admin")), ok),
    ];
    for (what, jwt, token, expected) in table {
        assert_eq!(at_now(&jwt, &token).await.map(drop), expected, "{what}");
    }
}

#[tokio::test]
async fn by_form() {
    let claims = json!({"sub": "alice", "exp": NOW + 60}).to_string();
    let header = |header: Value| hs256_with(&header, claims.as_bytes(), SECRET.as_bytes());
    let payload = |payload: &str| hs256_with(&json!({"alg": "HS256"}), payload.as_bytes(), SECRET.as_bytes());
    let good = header(json!({"alg": "HS256"}));
    let none = message(&json!({"alg": "none"}), claims.as_bytes());
    let hs512 = header(json!({"alg": "HS512"}));
    let table = [
        ("in order", good.clone(), None),
        ("kid for the only key", header(json!({"alg": "HS256", "kid": "any"})), None),
        ("none", format!("{none}."), Some(TokenError::Malformed)),
        ("none, two parts", none, Some(TokenError::Malformed)),
        ("None", header(json!({"alg": "None"})), Some(TokenError::Malformed)),
        ("no alg", header(json!({"typ": "JWT"})), Some(TokenError::Malformed)),
        ("another alg", hs512, Some(TokenError::UnknownKey)),
        (
            "crit",
            header(json!({"alg": "HS256", "crit": ["b64"], "b64": false})),
            Some(TokenError::CriticalHeader),
        ),
        ("no token", String::new(), Some(TokenError::Malformed)),
        ("dots", "...".to_owned(), Some(TokenError::Malformed)),
        ("four parts", format!("{good}.AAAA"), Some(TokenError::Malformed)),
        ("padded", format!("{good}="), Some(TokenError::Malformed)),
        ("with a newline", format!("{good}\n"), Some(TokenError::Malformed)),
        (
            "another secret",
            hs256_with(&json!({"alg": "HS256"}), claims.as_bytes(), b"other"),
            Some(TokenError::Signature),
        ),
        ("a list as payload", payload("[]"), Some(TokenError::Malformed)),
        ("text as payload", payload("alice"), Some(TokenError::Malformed)),
        (
            "100 kB",
            payload(&json!({"sub": "alice", "x": "x".repeat(75_000)}).to_string()),
            Some(TokenError::Malformed),
        ),
        ("100 kB of dots", ".".repeat(100_000), Some(TokenError::Malformed)),
    ];
    for (what, token, expected) in table {
        assert_eq!(at_now(&jwt(), &token).await.err(), expected, "{what}");
    }
}

#[tokio::test]
async fn every_truncated_token() {
    let token = with("roles", json!(["member"]));
    assert_eq!(at_now(&jwt(), &token).await.as_deref(), Ok("alice"));
    for end in 0..token.len() {
        assert!(at_now(&jwt(), &token[..end]).await.is_err(), "the first {end} bytes");
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    // CVE-2015-9235: the verifier lets the token say what kind of key its key is.
    let pem = include_bytes!("pyjwt/rs256.pem");
    let jwt = Jwt::rs256_pem(pem).expect("a key");
    let claims = json!({"sub": "alice", "exp": LATER}).to_string();
    for alg in ["HS256", "RS256"] {
        let forged = hs256_with(&json!({"alg": alg}), claims.as_bytes(), pem);
        assert_eq!(user_id_of(&jwt, &forged).await, Err(AuthError::Rejected));
    }
}

#[tokio::test]
async fn a_key_in_the_token_is_ignored() {
    let (known, stranger) = (Issuer::new("a"), Issuer::new("a"));
    let file = super::file::Set::new(&set(&[known.jwk()]));
    let jwt = Jwt::jwks_file(file.path()).expect("a set");
    let token = stranger.token_with(&json!({"alg": "EdDSA", "kid": "a", "jwk": stranger.jwk()}));
    assert_eq!(user_id_of(&jwt, &known.token()).await.as_deref(), Ok("alice"));
    assert_eq!(user_id_of(&jwt, &token).await, Err(AuthError::Rejected));
}

#[derive(Debug, Clone, Deserialize)]
struct Member {
    name: String,
    team: Option<u32>,
}

#[tokio::test]
async fn claims_have_the_applications_type() {
    let jwt = jwt().roles_claim("groups").claims::<Member>();
    let token = hs256(&json!({"sub": "a", "exp": LATER, "name": "Alice", "team": 7, "groups": ["x", "y"]}));
    let user = authenticate(&jwt, &token).await.expect("a user");
    assert_eq!((user.identity.name.as_str(), user.identity.team), ("Alice", Some(7)));
    assert_eq!(user.roles, ["x", "y"]);
    let nameless = hs256(&json!({"sub": "a", "exp": LATER}));
    assert_eq!(jwt.authenticate_at(&nameless, Duration::ZERO).await.err(), Some(TokenError::Claims));
}

#[test]
#[should_panic(expected = "the secret that signs tokens is empty")]
fn an_empty_secret() {
    let _jwt = Jwt::hs256("");
}
