//! Rooms that require an identity: of the authenticator's own type, and of one that the application makes of it; with
//! and without a condition.
#![deny(warnings, missing_docs, clippy::all, clippy::pedantic)]
#![allow(dead_code, unreachable_pub)]

use dialogue::{
    Authenticator,
    identity::{AuthError, Authenticated, Credentials, Provides},
};

/// What a token says.
#[derive(Debug, Clone)]
pub struct Claims {
    admin: bool,
}

/// Somebody who may do more.
#[derive(Debug)]
pub struct Admin;

impl Provides<Admin> for Claims {
    fn provide(&self) -> Option<Admin> {
        self.admin.then_some(Admin)
    }
}

/// Nobody provides it.
#[derive(Debug)]
pub struct Nobody;

struct Tokens;

impl Authenticator for Tokens {
    type Identity = Claims;

    async fn authenticate(&self, shown: &Credentials<'_>) -> Result<Authenticated<Claims>, AuthError> {
        let token = shown.token().ok_or(AuthError::Rejected)?;
        Ok(Authenticated::new(token, Claims { admin: token == "root" }))
    }
}

/// Something said.
#[dialogue::event]
pub struct Message {
    /// What.
    pub text: String,
}

dialogue::rooms! {
    /// Rooms of three kinds.
    pub struct Acme;

    hall: [Message] via [websocket];

    #[room(identity = Claims)]
    lounge: [Message] via [websocket];

    #[cfg(all())]
    #[cfg(not(any()))]
    #[room(identity = Admin)]
    office: [Message] via [websocket, sse];

    #[cfg(any())]
    #[room(identity = Nobody)]
    attic: [Message] via [websocket];
}

dialogue::rooms! {
    struct Open;

    square: [Message] via [websocket];
}

async fn build() -> dialogue::Result<()> {
    let _: AcmeServer = Acme::server().auth(Tokens).build().await?;
    let _: OpenServer = Open::server().auth(Tokens).build().await?;
    let _: OpenServer = Open::server().build().await?;
    Ok(())
}

#[test]
fn each_room_asks_for_its_own() {
    use dialogue::__private::Admits;
    drop(build());
    assert_eq!(<Acme as Admits<Claims>>::REQUIRED_IDENTITIES.len(), 3);
    assert!(<Open as Admits<()>>::REQUIRED_IDENTITIES.is_empty());
}
