//! Tests of keys from a file that changes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::time::advance;

use super::*;
use crate::file::FILE_CHECK_INTERVAL;

/// A JWK set in a file that is removed on drop.
pub(super) struct Set(PathBuf);

impl Set {
    pub(super) fn new(text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("dialogue-jwks-{}-{}.json", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let set = Set(std::env::temp_dir().join(name));
        set.write(text);
        set
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).expect("a file in the temporary folder");
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        let _removed = fs::remove_file(&self.0);
    }
}

const UNKNOWN: Result<String, AuthError> = Err(AuthError::Rejected);

fn alice() -> Result<String, AuthError> {
    Ok("alice".to_owned())
}

#[tokio::test(start_paused = true)]
async fn keys_rotate() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let file = Set::new(&set(&[old.jwk()]));
    let jwt = Jwt::jwks_file(file.path()).expect("a set");
    assert_eq!(
        (user_id_of(&jwt, &old.token()).await, user_id_of(&jwt, &new.token()).await),
        (alice(), UNKNOWN)
    );

    file.write(&set(&[old.jwk(), new.jwk()]));
    assert_eq!(user_id_of(&jwt, &new.token()).await, UNKNOWN, "within the check interval");
    advance(FILE_CHECK_INTERVAL).await;
    assert_eq!(
        (user_id_of(&jwt, &old.token()).await, user_id_of(&jwt, &new.token()).await),
        (alice(), alice())
    );

    file.write(&set(&[new.jwk()]));
    advance(FILE_CHECK_INTERVAL).await;
    assert_eq!(
        (user_id_of(&jwt, &old.token()).await, user_id_of(&jwt, &new.token()).await),
        (UNKNOWN, alice())
    );

    file.write(&set(&[]));
    advance(FILE_CHECK_INTERVAL).await;
    assert_eq!(user_id_of(&jwt, &new.token()).await, UNKNOWN, "an empty set refuses all");
}

#[tokio::test(start_paused = true)]
async fn an_unusable_file_leaves_the_previous_keys() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let file = Set::new(&set(&[old.jwk()]));
    let jwt = Jwt::jwks_file(file.path()).expect("a set");
    for garbage in
        ["", "{", "[]", r#"{"keys":7}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, &" ".repeat(2 << 20)]
    {
        file.write(garbage);
        advance(FILE_CHECK_INTERVAL).await;
        assert_eq!(user_id_of(&jwt, &old.token()).await, alice());
    }
    fs::remove_file(file.path()).expect("it is there");
    advance(FILE_CHECK_INTERVAL).await;
    assert_eq!(user_id_of(&jwt, &old.token()).await, alice());

    file.write(&set(&[new.jwk()]));
    advance(FILE_CHECK_INTERVAL).await;
    assert_eq!(
        (user_id_of(&jwt, &old.token()).await, user_id_of(&jwt, &new.token()).await),
        (UNKNOWN, alice())
    );
}

#[tokio::test]
async fn kid_selects_the_key() {
    let (a, b) = (Issuer::new("a"), Issuer::new("b"));
    let file = Set::new(&set(&[a.jwk(), b.jwk()]));
    let jwt = Jwt::jwks_file(file.path()).expect("a set");
    assert_eq!(user_id_of(&jwt, &b.token_with(&json!({"alg": "EdDSA"}))).await, alice(), "without kid, any");
    assert_eq!(
        user_id_of(&jwt, &b.token_with(&json!({"alg": "EdDSA", "kid": "a"}))).await,
        UNKNOWN,
        "another's kid"
    );
    assert_eq!(
        user_id_of(&jwt, &b.token_with(&json!({"alg": "EdDSA", "kid": "c"}))).await,
        UNKNOWN,
        "an unknown kid"
    );
}

#[test]
fn a_file_that_cant_be_read_is_an_error() {
    let error = Jwt::jwks_file("/nowhere/jwks.json").expect_err("no file");
    assert!(error.to_string().starts_with("can't read the keys in /nowhere/jwks.json: "), "{error}");
    assert!(Jwt::jwks_file(Set::new("garbage").path()).is_err());
    let many = vec![Issuer::new("a").jwk(); 101];
    assert!(Jwt::jwks_file(Set::new(&set(&many)).path()).is_err());
}
