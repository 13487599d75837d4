//! Keys from a JWK set that a key server serves, fetched again at an interval and for unknown key ids.

use std::{any::Any, fmt, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use reqwest::{Client, Url, redirect};
use tokio::{sync::watch, task::AbortHandle, time::Instant};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{
    Jwt,
    error::KeyError,
    key_source::{CheckFuture, KeySource},
    keys::{Keys, MAX_SET_BYTES},
    token::{TokenError, UnverifiedToken},
};

/// A JWK set behind a URL.
struct JwksUrl {
    refresh: Duration,
    server: Arc<KeyServer>,
}

struct KeyServer {
    url: Url,
    client: Client,
    state: Mutex<KeyServerState>,
}

/// The keys and the fetch in progress. There is at most one fetch, on a task of its own; callers that need its result
/// wait for it, and can be dropped.
#[derive(Default)]
struct KeyServerState {
    keys: Option<Arc<Keys>>,
    /// The time at which the keys were received.
    received: Option<Instant>,
    /// The start of the last fetch.
    last_fetch: Option<Instant>,
    /// Set if the last fetch failed.
    has_failed: bool,
    fetch: Option<Fetch>,
}

struct Fetch {
    /// Is closed when the fetch ends, also by a panic or an abort.
    ended: watch::Receiver<()>,
    task: AbortHandle,
}

/// The default age at which keys are fetched again.
const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_secs(600);
/// The minimum interval between two fetches, which unknown key ids can't shorten.
pub(super) const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(10);
/// The minimum interval while there are no keys, and no token can be verified.
pub(super) const MIN_FETCH_INTERVAL_WITHOUT_KEYS: Duration = Duration::from_secs(1);
/// The timeout of a fetch: less than that of the authenticator (10 s), whose caller waits for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

impl Jwt {
    /// Accepts tokens signed with one of the keys that a URL serves (feature `jwks`): a JWK set (RFC 7517), as for
    /// [`jwks_file`](Jwt::jwks_file).
    ///
    /// The set is fetched with the first token, then again in the background when a token is checked and the set is
    /// older than 10 minutes ([`refresh`](Jwt::refresh)). A token with an unknown `kid` starts a fetch and waits for
    /// it, but there are at least 10 s between two fetches, so that forged `kid`s can't flood the key server; 1 s while
    /// there are no keys at all. The timeout of a fetch is 5 s; redirects are not followed.
    ///
    /// While the key server is unavailable or its response is not a JWK set, the previous keys stay in use; a token for
    /// another key gets [`AuthError::Unavailable`](dialogue_core::identity::AuthError::Unavailable).
    ///
    /// # Errors
    ///
    /// If it is not a URL, or is plain `http` to another machine.
    ///
    /// ```
    /// use dialogue::Jwt;
    ///
    /// # fn main() -> Result<(), dialogue::identity::jwt::KeyError> {
    /// let jwt = Jwt::jwks_url("https://id.example/.well-known/jwks.json")?.issuer("https://id.example");
    /// assert!(Jwt::jwks_url("http://id.example/.well-known/jwks.json").is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn jwks_url(url: &str) -> Result<Self, KeyError> {
        Ok(Jwt::with_keys(JwksUrl::new(url)?))
    }
}

impl<C> Jwt<C> {
    /// Sets the age at which keys from a URL are fetched again (feature `jwks`). Has no effect on other keys.
    ///
    /// Default: 10 minutes.
    #[must_use]
    pub fn refresh(mut self, every: Duration) -> Self {
        let keys: &mut dyn Any = &mut *self.keys;
        if let Some(url) = keys.downcast_mut::<JwksUrl>() {
            url.refresh = every;
        }
        self
    }
}

impl JwksUrl {
    fn new(url: &str) -> Result<Self, KeyError> {
        let url = Url::parse(url).map_err(|_| KeyError::new("the keys' URL is not a URL"))?;
        let local = url.host_str().is_some_and(is_loopback);
        if !(url.scheme() == "https" || url.scheme() == "http" && local) {
            return Err(KeyError::new(
                "the keys' URL is neither https nor on this machine: the keys could be changed in transit",
            ));
        }
        let client = client(local)?;
        let server = KeyServer { url, client, state: Mutex::default() };
        Ok(JwksUrl { refresh: DEFAULT_REFRESH_INTERVAL, server: Arc::new(server) })
    }

    /// Verifies that one of the keys has signed the token. Waits for a fetch if no key has its `kid` and algorithm.
    ///
    /// # Cancel safety
    ///
    /// If this is dropped, the fetch continues for other callers.
    async fn check(&self, token: &UnverifiedToken<'_>) -> Result<(), TokenError> {
        if let Some(checked) = self.check_by_known_keys(token) {
            return checked;
        }
        if let Some(mut ended) = self.server.fetch() {
            // Returns an error when the sender is dropped, at the end of the fetch.
            let _closed = ended.changed().await;
        }
        let (keys, has_failed) = {
            let state = self.server.state.lock();
            (state.keys.clone(), state.has_failed)
        };
        match keys.ok_or(TokenError::NoKeys)?.check(token) {
            // The key may be a new one, which the failed fetch would have returned.
            Err(TokenError::UnknownKey) if has_failed => Err(TokenError::NoKeys),
            checked => checked,
        }
    }

    /// Checks the token by the keys that are there; `None` if none of them has its `kid` and algorithm. Starts a fetch
    /// in the background if they are old.
    fn check_by_known_keys(&self, token: &UnverifiedToken<'_>) -> Option<Result<(), TokenError>> {
        let (keys, received) = {
            let state = self.server.state.lock();
            (state.keys.clone()?, state.received)
        };
        let checked = keys.check(token);
        if checked == Err(TokenError::UnknownKey) {
            return None;
        }
        if received.is_none_or(|received| received.elapsed() >= self.refresh) {
            self.server.fetch();
        }
        Some(checked)
    }
}

impl KeySource for JwksUrl {
    fn check<'a>(&'a self, token: &'a UnverifiedToken<'_>) -> CheckFuture<'a> {
        Box::pin(self.check(token))
    }

    fn show_place(&self, jwt: &mut fmt::DebugStruct<'_, '_>) {
        // The rest of the URL may contain a secret.
        jwt.field("host", &self.server.url.host_str().unwrap_or_default());
    }
}

impl Drop for JwksUrl {
    fn drop(&mut self) {
        if let Some(fetch) = &self.server.state.lock().fetch {
            fetch.task.abort();
        }
    }
}

impl KeyServer {
    /// Returns the fetch in progress, or starts one unless the minimum interval since the last has not passed.
    fn fetch(self: &Arc<Self>) -> Option<watch::Receiver<()>> {
        let mut state = self.state.lock();
        if let Some(fetch) = &state.fetch
            && fetch.ended.has_changed().is_ok()
        {
            return Some(fetch.ended.clone());
        }
        let min_interval =
            if state.keys.is_some() { MIN_FETCH_INTERVAL } else { MIN_FETCH_INTERVAL_WITHOUT_KEYS };
        if state.last_fetch.is_some_and(|start| start.elapsed() < min_interval) {
            return None;
        }
        state.last_fetch = Some(Instant::now());
        let (ends, ended) = watch::channel(());
        let server = Arc::clone(self);
        let task = tokio::spawn(async move {
            let keys = server.get().await;
            server.store(keys);
            drop(ends);
        });
        state.fetch = Some(Fetch { ended: ended.clone(), task: task.abort_handle() });
        Some(ended)
    }

    async fn get(&self) -> Result<Keys, FetchError> {
        let mut response = self.client.get(self.url.clone()).send().await?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if chunk.len() > MAX_SET_BYTES.saturating_sub(body.len()) {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Keys::set(&body)?)
    }

    fn store(&self, fetched: Result<Keys, FetchError>) {
        let mut state = self.state.lock();
        state.has_failed = fetched.is_err();
        match fetched {
            Ok(keys) => {
                state.keys = Some(Arc::new(keys));
                state.received = Some(Instant::now());
            }
            Err(failure) => {
                let kept = if state.keys.is_some() { "stay as they were" } else { "are still unknown" };
                let host = self.url.host_str().unwrap_or_default();
                tracing::warn!("the keys at {host} {kept}: {failure}");
            }
        }
    }
}

/// The failure of a fetch.
enum FetchError {
    Http(reqwest::Error),
    Status(u16),
    TooLong,
    Keys(KeyError),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Http(error) => {
                write!(f, "{error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
            FetchError::Status(status) => write!(f, "the response is HTTP {status}"),
            FetchError::TooLong => f.write_str("the response has more than 1 MiB"),
            FetchError::Keys(error) => write!(f, "{error}"),
        }
    }
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        // The URL may contain a secret of the key server.
        FetchError::Http(error.without_url())
    }
}

impl From<KeyError> for FetchError {
    fn from(error: KeyError) -> Self {
        FetchError::Keys(error)
    }
}

fn client(local: bool) -> Result<Client, KeyError> {
    let failed = |_| KeyError::new("can't set up TLS to fetch keys");
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    // An explicit provider, since the process may have installed none, or another.
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .timeout(FETCH_TIMEOUT);
    // Plain HTTP is allowed because it stays on this machine, so it must not go through a proxy.
    let client = if local { client.no_proxy() } else { client };
    client.build().map_err(|_| KeyError::new("can't set up HTTP to fetch keys"))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
