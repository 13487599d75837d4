//! The URL, headers and token with which a client connects.

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
type Asked = Pin<Box<dyn Future<Output = Result<String, Failure>> + Send>>;

/// The settings that all connections of a client share.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    headers: HeaderMap,
    token: Token,
    /// The token that keeps the id of an anonymous user over reconnects.
    anonymous: Mutex<Option<Arc<str>>>,
}

/// The source of a client's token.
pub(crate) enum Token {
    None,
    Fixed(Mutex<String>),
    Asked(Box<dyn Fn() -> Asked + Send + Sync>),
}

impl Token {
    pub(crate) fn asked<F, T, E>(ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<String>,
        E: Into<Failure>,
    {
        Token::Asked(Box::new(move || {
            let asked = ask();
            Box::pin(async move { asked.await.map(Into::into).map_err(Into::into) })
        }))
    }

    pub(crate) fn source(&self) -> TokenSource {
        match self {
            Token::None => TokenSource::None,
            Token::Fixed(_) => TokenSource::Fixed,
            Token::Asked(_) => TokenSource::Renewable,
        }
    }
}

/// `Debug` doesn't show the token.
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

    /// Returns the headers of the next request. Calls the application's token function, if there is one.
    pub(crate) async fn headers(&self) -> Result<HeaderMap, Error> {
        let token =
            match &self.token {
                Token::None => lock(&self.anonymous).as_deref().map(str::to_owned),
                Token::Fixed(token) => Some(lock(token).clone()),
                Token::Asked(ask) => Some(ask().await.map_err(|error| {
                    Error::caused(ErrorKind::Connect, "get a token to connect with", error)
                })?),
            };
        transport::headers(&self.headers, token.as_deref())
    }

    /// Replaces a fixed token.
    pub(crate) fn replace(&self, token: &str) {
        if let Token::Fixed(fixed) = &self.token {
            token.clone_into(&mut lock(fixed));
        }
    }

    /// Returns whether requests carry no credentials.
    pub(crate) fn shows_nobody(&self) -> bool {
        self.source() == TokenSource::None
            && lock(&self.anonymous).is_none()
            && !self.headers.contains_key(AUTHORIZATION)
            && !self.headers.contains_key(COOKIE)
    }

    /// Removes the anonymous token, and returns whether there was one.
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
