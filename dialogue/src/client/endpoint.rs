//! The server's address and the client's credentials, shared by the WebSocket, the streams and HTTP requests.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use http::{
    HeaderMap,
    header::{AUTHORIZATION, COOKIE},
};

use super::{
    core::TokenSource,
    error::{Error, ErrorKind},
    transport::{self, Address},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type TokenFuture = Pin<Box<dyn Future<Output = Result<String, Failure>> + Send>>;

/// The address, headers and token of every connection.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    headers: HeaderMap,
    token: Token,
    /// The token that the server issued to keep an anonymous user's identity.
    anonymous: Mutex<Option<Arc<str>>>,
}

/// The origin of a client's token.
pub(crate) enum Token {
    None,
    Fixed(Mutex<String>),
    Renewable(Box<dyn Fn() -> TokenFuture + Send + Sync>),
}

impl Token {
    pub(crate) fn from_fn<F, T, E>(request_token: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<String>,
        E: Into<Failure>,
    {
        Token::Renewable(Box::new(move || {
            let token = request_token();
            Box::pin(async move { token.await.map(Into::into).map_err(Into::into) })
        }))
    }

    pub(crate) fn source(&self) -> TokenSource {
        match self {
            Token::None => TokenSource::None,
            Token::Fixed(_) => TokenSource::Fixed,
            Token::Renewable(_) => TokenSource::Renewable,
        }
    }
}

/// Prints the kind of token, never its text.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source().fmt(f)
    }
}

impl Endpoint {
    pub(crate) fn new(address: Address, headers: HeaderMap, token: Token) -> Self {
        Endpoint { address, headers, token, anonymous: Mutex::default() }
    }

    pub(crate) fn source(&self) -> TokenSource {
        self.token.source()
    }

    /// Returns the headers of the next request; a renewable token is requested first.
    pub(crate) async fn headers(&self) -> Result<HeaderMap, Error> {
        let token =
            match &self.token {
                Token::None => lock(&self.anonymous).as_deref().map(str::to_owned),
                Token::Fixed(token) => Some(lock(token).clone()),
                Token::Renewable(request_token) => Some(request_token().await.map_err(|error| {
                    Error::caused(ErrorKind::Connect, "get a token to connect with", error)
                })?),
            };
        transport::headers(&self.headers, token.as_deref())
    }

    /// Replaces a fixed token; any other kind is unchanged.
    pub(crate) fn replace(&self, token: &str) {
        if let Token::Fixed(fixed) = &self.token {
            token.clone_into(&mut lock(fixed));
        }
    }

    /// Returns true if requests carry no credentials: no token, `Authorization` header or cookie.
    pub(crate) fn has_no_credentials(&self) -> bool {
        self.source() == TokenSource::None
            && lock(&self.anonymous).is_none()
            && !self.headers.contains_key(AUTHORIZATION)
            && !self.headers.contains_key(COOKIE)
    }

    /// Drops the anonymous token; returns true if there was one.
    pub(crate) fn forget_anonymous(&self) -> bool {
        lock(&self.anonymous).take().is_some()
    }

    pub(crate) fn anonymous(&self, token: Option<Arc<str>>) {
        *lock(&self.anonymous) = token;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
