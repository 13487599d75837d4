//! Tests of keys from a key server on loopback.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{self, advance},
};

use super::*;
use crate::identity::jwt::url::{MIN_FETCH_INTERVAL, MIN_FETCH_INTERVAL_WITHOUT_KEYS};

/// A key server with configurable responses.
struct KeyServer {
    state: Arc<KeyServerState>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

struct KeyServerState {
    /// The whole response; empty: closes the connection.
    response: Mutex<String>,
    requests: AtomicUsize,
    /// One permit for each response.
    permits: Semaphore,
}

impl KeyServer {
    async fn new(response: String) -> Self {
        let state = KeyServerState {
            response: Mutex::new(response),
            requests: AtomicUsize::new(0),
            permits: Semaphore::new(1_000),
        };
        let state = Arc::new(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    state.respond(stream).await;
                }
            }
        });
        KeyServer { state, address, task }
    }

    fn jwt(&self) -> Jwt {
        Jwt::jwks_url(&format!("http://{}/jwks.json", self.address)).expect("a URL on this machine")
    }

    fn set_response(&self, response: String) {
        *self.state.response.lock().expect("no other panic") = response;
    }

    fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    async fn wait_for_requests(&self, count: usize) {
        let received = async {
            while self.requests() < count {
                tokio::task::yield_now().await;
            }
        };
        let received = deadline::within(Duration::from_secs(5), "a request", received).await;
        received.unwrap_or_else(|late| panic!("{late}"));
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl KeyServerState {
    async fn respond(&self, mut stream: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.expect("never closed").forget();
        let response = self.response.lock().expect("no other panic").clone();
        // The client may have closed the connection.
        let _written = stream.write_all(response.as_bytes()).await;
    }
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn keys(of: &[&Issuer]) -> String {
    http("200 OK", &set(&of.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>()))
}

/// Advances the time while no request is in progress.
async fn advance_time(duration: Duration) {
    time::pause();
    advance(duration).await;
    time::resume();
}

const ALICE: Result<&str, AuthError> = Ok("alice");
const REJECTED: Result<&str, AuthError> = Err(AuthError::Rejected);
const UNAVAILABLE: Result<&str, AuthError> = Err(AuthError::Unavailable);

async fn assert_user(jwt: &Jwt, issuer: &Issuer, expected: Result<&str, AuthError>) {
    assert_eq!(
        user_id_of(jwt, &issuer.token()).await.as_deref().map_err(|error| *error),
        expected,
        "{}",
        issuer.kid
    );
}

#[tokio::test]
async fn an_unknown_kid_fetches_but_forged_kids_do_not_flood() {
    let (old, new, forged) = (Issuer::new("old"), Issuer::new("new"), Issuer::new("forged"));
    let server = KeyServer::new(keys(&[&old])).await;
    let jwt = server.jwt();
    assert_user(&jwt, &old, ALICE).await;
    assert_user(&jwt, &old, ALICE).await;
    assert_eq!(server.requests(), 1);

    server.set_response(keys(&[&old, &new]));
    assert_user(&jwt, &new, REJECTED).await;
    assert_eq!(server.requests(), 1, "within the minimum interval");
    advance_time(MIN_FETCH_INTERVAL).await;
    assert_user(&jwt, &new, ALICE).await;
    assert_eq!(server.requests(), 2);

    advance_time(MIN_FETCH_INTERVAL).await;
    let jwt = Arc::new(jwt);
    let mut storm = JoinSet::new();
    for _ in 0..100 {
        let (jwt, token) = (Arc::clone(&jwt), forged.token());
        storm.spawn(async move { assert_eq!(user_id_of(&*jwt, &token).await, Err(AuthError::Rejected)) });
    }
    storm.join_all().await;
    assert_eq!(server.requests(), 3);
    assert_user(&jwt, &old, ALICE).await;
}

#[tokio::test]
async fn old_keys_are_fetched_again_in_the_background() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let server = KeyServer::new(keys(&[&old])).await;
    let jwt = server.jwt().refresh(Duration::from_secs(60));
    assert_user(&jwt, &old, ALICE).await;

    advance_time(Duration::from_secs(59)).await;
    assert_user(&jwt, &old, ALICE).await;
    assert_eq!(server.requests(), 1);

    server.set_response(keys(&[&new]));
    server.state.permits.forget_permits(1_000);
    advance_time(Duration::from_secs(1)).await;
    // The server doesn't respond yet, and no caller waits for it.
    assert_user(&jwt, &old, ALICE).await;
    assert_user(&jwt, &old, ALICE).await;
    server.wait_for_requests(2).await;
    server.state.permits.add_permits(1);
    // This key is unknown: its user waits for the fetch in progress.
    assert_user(&jwt, &new, ALICE).await;
    assert_user(&jwt, &old, REJECTED).await;
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_unusable_response_leaves_the_previous_keys() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let server = KeyServer::new(keys(&[&old])).await;
    let jwt = server.jwt().refresh(Duration::ZERO);
    assert_user(&jwt, &old, ALICE).await;
    let responses = [
        String::new(),
        http("503 Service Unavailable", &set(&[new.jwk()])),
        http("302 Found\r\nlocation: /elsewhere", ""),
        http("200 OK", "<html>"),
        http("200 OK", r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#),
        http("200 OK", &" ".repeat(2 << 20)),
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
    ];
    for response in responses {
        server.set_response(response.clone());
        let before = server.requests();
        advance_time(MIN_FETCH_INTERVAL).await;
        assert_user(&jwt, &new, UNAVAILABLE).await;
        assert_user(&jwt, &old, ALICE).await;
        assert!(server.requests() > before, "{response:.40}");
    }
    server.set_response(keys(&[&new]));
    advance_time(MIN_FETCH_INTERVAL).await;
    assert_user(&jwt, &new, ALICE).await;
    assert_user(&jwt, &old, REJECTED).await;
}

#[tokio::test]
async fn without_any_keys_authentication_is_unavailable() {
    let issuer = Issuer::new("a");
    let server = KeyServer::new(String::new()).await;
    let jwt = server.jwt();
    assert_user(&jwt, &issuer, UNAVAILABLE).await;
    let before = server.requests();
    server.set_response(keys(&[&issuer]));
    assert_user(&jwt, &issuer, UNAVAILABLE).await;
    assert_eq!(server.requests(), before, "within the minimum interval");
    advance_time(MIN_FETCH_INTERVAL_WITHOUT_KEYS).await;
    assert_user(&jwt, &issuer, ALICE).await;

    // The server is stopped.
    drop(server);
    advance_time(MIN_FETCH_INTERVAL).await;
    assert_user(&jwt, &Issuer::new("b"), UNAVAILABLE).await;
    assert_user(&jwt, &issuer, ALICE).await;
}

#[tokio::test]
async fn a_dropped_caller_leaves_the_fetch_to_others() {
    let issuer = Issuer::new("a");
    let server = KeyServer::new(keys(&[&issuer])).await;
    server.state.permits.forget_permits(1_000);
    let jwt = Arc::new(server.jwt());
    let first = tokio::spawn({
        let (jwt, token) = (Arc::clone(&jwt), issuer.token());
        async move { user_id_of(&*jwt, &token).await }
    });
    server.wait_for_requests(1).await;
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    server.state.permits.add_permits(1);
    assert_user(&jwt, &issuer, ALICE).await;
    assert_eq!(server.requests(), 1);
}

#[test]
fn keys_come_over_tls_or_from_this_machine() {
    for url in ["https://id.example/jwks", "http://localhost:1/", "http://127.0.0.2/", "http://[::1]:8080/"] {
        assert!(Jwt::jwks_url(url).is_ok(), "{url}");
    }
    let wrong = [
        "http://id.example/jwks",
        "http://localhost.example/",
        "http://10.0.0.1/",
        "ftp://localhost/",
        "file:///etc/x",
        "",
    ];
    for url in wrong {
        assert!(Jwt::jwks_url(url).is_err(), "{url}");
    }
}

#[test]
fn a_secret_in_the_url_is_not_shown() {
    let jwt = Jwt::jwks_url("https://me:hunter2@id.example/jwks?key=hunter2").expect("a URL");
    let shown = format!("{jwt:?}");
    assert!(shown.contains("id.example") && !shown.contains("hunter2"), "{shown}");
}
