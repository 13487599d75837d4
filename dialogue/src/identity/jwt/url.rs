//! Keys from a URL.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use reqwest::{Client, Url, redirect};
use tokio::{sync::watch, task::AbortHandle, time::Instant};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{
    error::KeyError,
    keys::{Keys, LONGEST_SET},
    token::{Refused, Token},
};

/// A JWK set behind a URL.
pub(super) struct JwksUrl {
    pub(super) refresh: Duration,
    server: Arc<KeyServer>,
}

struct KeyServer {
    url: Url,
    client: Client,
    state: Mutex<State>,
}

/// At most one fetch is under way; whoever needs its result watches it, and goes when they like.
#[derive(Default)]
struct State {
    keys: Option<Arc<Keys>>,
    /// When the keys came.
    came: Option<Instant>,
    /// When the last fetch began.
    began: Option<Instant>,
    /// Whether that brought nothing of use.
    failed: bool,
    fetch: Option<Fetch>,
}

struct Fetch {
    /// Closes when it ends, however it ends.
    ended: watch::Receiver<()>,
    task: AbortHandle,
}

/// How old keys may get, unless told otherwise.
const REFRESH: Duration = Duration::from_secs(600);
/// From one fetch to the next, whatever tokens say.
pub(super) const FLOOR: Duration = Duration::from_secs(10);
/// The same while there are no keys at all, and nobody gets in.
pub(super) const FLOOR_WITHOUT_KEYS: Duration = Duration::from_secs(1);
/// What a fetch may take: less than an authenticator may, so that its answer is still of use.
const PATIENCE: Duration = Duration::from_secs(5);

impl JwksUrl {
    pub(super) fn new(url: &str) -> Result<Self, KeyError> {
        let url = Url::parse(url).map_err(|_| KeyError::new("the keys' URL is none"))?;
        let local = url.host_str().is_some_and(is_loopback);
        if !(url.scheme() == "https" || url.scheme() == "http" && local) {
            return Err(KeyError::new(
                "the keys' URL is neither https nor on this machine: anybody could change them",
            ));
        }
        let client = client(local)?;
        let server = KeyServer { url, client, state: Mutex::default() };
        Ok(JwksUrl { refresh: REFRESH, server: Arc::new(server) })
    }

    /// That one of the keys has signed the token. Waits for a fetch if none of them can have.
    ///
    /// Cancel safe: a fetch goes on for others.
    pub(super) async fn check(&self, token: &Token<'_>) -> Result<(), Refused> {
        if let Some(keys) = self.known(token) {
            return keys.check(token);
        }
        if let Some(mut ended) = self.server.fetch() {
            // Its sender sends nothing: it is dropped at the end.
            let _closed = ended.changed().await;
        }
        let (keys, failed) = {
            let state = self.server.state.lock();
            (state.keys.clone(), state.failed)
        };
        match keys.ok_or(Refused::NoKeys)?.check(token) {
            // The key may be a new one.
            Err(Refused::Key) if failed => Err(Refused::NoKeys),
            checked => checked,
        }
    }

    pub(super) fn host(&self) -> &str {
        self.server.url.host_str().unwrap_or_default()
    }

    /// The keys, if one of them may have signed the token; and lets them be fetched again if they are old.
    fn known(&self, token: &Token<'_>) -> Option<Arc<Keys>> {
        let (keys, came) = {
            let state = self.server.state.lock();
            (state.keys.clone()?, state.came)
        };
        if !keys.know(token) {
            return None;
        }
        if came.is_none_or(|came| came.elapsed() >= self.refresh) {
            self.server.fetch();
        }
        Some(keys)
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
    /// The fetch under way, or a new one unless the last was just now.
    fn fetch(self: &Arc<Self>) -> Option<watch::Receiver<()>> {
        let mut state = self.state.lock();
        if let Some(fetch) = &state.fetch
            && fetch.ended.has_changed().is_ok()
        {
            return Some(fetch.ended.clone());
        }
        let floor = if state.keys.is_some() { FLOOR } else { FLOOR_WITHOUT_KEYS };
        if state.began.is_some_and(|began| began.elapsed() < floor) {
            return None;
        }
        state.began = Some(Instant::now());
        let (ends, ended) = watch::channel(());
        let server = Arc::clone(self);
        let task = tokio::spawn(async move {
            let keys = server.get().await;
            server.keep(keys);
            drop(ends);
        });
        state.fetch = Some(Fetch { ended: ended.clone(), task: task.abort_handle() });
        Some(ended)
    }

    async fn get(&self) -> Result<Keys, Failure> {
        let mut response = self.client.get(self.url.clone()).send().await?;
        if !response.status().is_success() {
            return Err(Failure::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if chunk.len() > LONGEST_SET.saturating_sub(body.len()) {
                return Err(Failure::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Keys::set(&body)?)
    }

    fn keep(&self, fetched: Result<Keys, Failure>) {
        let mut state = self.state.lock();
        state.failed = fetched.is_err();
        match fetched {
            Ok(keys) => {
                state.keys = Some(Arc::new(keys));
                state.came = Some(Instant::now());
            }
            Err(failure) => {
                let kept = if state.keys.is_some() { "stay as they were" } else { "are still unknown" };
                let host = self.url.host_str().unwrap_or_default();
                tracing::warn!("the keys at {host} {kept}: {failure}");
            }
        }
    }
}

/// Why a fetch brought no keys.
enum Failure {
    Http(reqwest::Error),
    Status(u16),
    TooLong,
    Keys(KeyError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Http(error) => {
                write!(f, "{error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
            Failure::Status(status) => write!(f, "the answer is HTTP {status}"),
            Failure::TooLong => f.write_str("the answer has more than 1 MiB"),
            Failure::Keys(error) => write!(f, "{error}"),
        }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // The URL may hold a key to the key server.
        Failure::Http(error.without_url())
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Failure::Keys(error)
    }
}

fn client(local: bool) -> Result<Client, KeyError> {
    let failed = |_| KeyError::new("can't set up TLS to fetch keys");
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    // With a provider of our own: the process may have none, or another.
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client =
        Client::builder().tls_backend_preconfigured(tls).redirect(redirect::Policy::none()).timeout(PATIENCE);
    // What may be plain because it stays on the machine must stay on it.
    let client = if local { client.no_proxy() } else { client };
    client.build().map_err(|_| KeyError::new("can't set up HTTP to fetch keys"))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
