use dialogue::{Authenticator, identity::{AuthError, Authenticated, Credentials}};

#[derive(Debug, Clone)]
pub struct Member;

#[derive(Debug, Clone)]
pub struct Claims;

struct Tokens;

impl Authenticator for Tokens {
    type Identity = Claims;

    async fn authenticate(&self, _: &Credentials<'_>) -> Result<Authenticated<Claims>, AuthError> {
        Err(AuthError::Rejected)
    }
}

#[dialogue::event]
pub struct Message {
    pub text: String,
}

dialogue::rooms! {
    pub struct Acme;

    #[room(identity = Member)]
    lounge: [Message] via [websocket];
}

async fn serve() -> dialogue::Result<AcmeServer> {
    Acme::server().auth(Tokens).build().await
}

fn main() {}
