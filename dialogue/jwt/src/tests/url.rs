//! Keys from a server on loopback.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{advance, pause},
};

use super::*;
use crate::url::{MIN_FETCH_INTERVAL, MIN_FETCH_INTERVAL_WITHOUT_KEYS};

/// A key server with configurable responses.
struct KeyServer {
    state: Arc<KeyServerState>,
    address: SocketAddr,
    task: JoinHandle<()>,
    _still: Still,
}

/// The clock stands still but for what a test lets pass, however long the machine takes: a paused one would go on to
/// the next deadline whenever the network is waited for, and doesn't while something is under way on another thread.
struct Still(#[expect(dead_code, reason = "it ends by being dropped")] mpsc::Sender<()>);

impl Still {
    fn new() -> Self {
        pause();
        let (stands, goes_on) = mpsc::channel();
        spawn_blocking(move || goes_on.recv());
        Still(stands)
    }
}

struct KeyServerState {
    /// The whole answer; empty: hangs up.
    answer: Mutex<String>,
    asked: AtomicUsize,
    /// One permit for each answer.
    may: Semaphore,
}

impl KeyServer {
    async fn new(answer: String) -> Self {
        let _still = Still::new();
        let state = KeyServerState {
            answer: Mutex::new(answer),
            asked: AtomicUsize::new(0),
            may: Semaphore::new(1_000),
        };
        let state = Arc::new(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    state.answer(stream).await;
                }
            }
        });
        KeyServer { state, address, task, _still }
    }

    fn jwt(&self) -> Jwt {
        Jwt::jwks_url(&format!("http://{}/jwks.json", self.address)).expect("a URL on this machine")
    }

    fn say(&self, answer: String) {
        *self.state.answer.lock().expect("no panic elsewhere") = answer;
    }

    fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    async fn until_asked(&self, times: usize) {
        let began = Instant::now();
        while self.asked() < times {
            assert!(began.elapsed() < Duration::from_secs(60), "it is not asked");
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl KeyServerState {
    async fn answer(&self, mut stream: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.may.acquire().await.expect("never closed").forget();
        let answer = self.answer.lock().expect("no panic elsewhere").clone();
        // The client may have had enough of it.
        let _written = stream.write_all(answer.as_bytes()).await;
    }
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn keys(of: &[&Issuer]) -> String {
    http("200 OK", &set(&of.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>()))
}

const ALICE: Result<&str, AuthError> = Ok("alice");
const REJECTED: Result<&str, AuthError> = Err(AuthError::Rejected);
const UNAVAILABLE: Result<&str, AuthError> = Err(AuthError::Unavailable);

async fn says(jwt: &Jwt, issuer: &Issuer, expected: Result<&str, AuthError>) {
    assert_eq!(
        user_id_of(jwt, &issuer.token()).await.as_deref().map_err(|error| *error),
        expected,
        "{}",
        issuer.kid
    );
}

#[tokio::test]
async fn an_unknown_kid_fetches_but_forged_ones_make_no_storm() {
    let (old, new, forged) = (Issuer::new("old"), Issuer::new("new"), Issuer::new("forged"));
    let server = KeyServer::new(keys(&[&old])).await;
    let jwt = server.jwt();
    says(&jwt, &old, ALICE).await;
    says(&jwt, &old, ALICE).await;
    assert_eq!(server.asked(), 1);

    server.say(keys(&[&old, &new]));
    says(&jwt, &new, REJECTED).await;
    assert_eq!(server.asked(), 1, "within the floor");
    advance(MIN_FETCH_INTERVAL).await;
    says(&jwt, &new, ALICE).await;
    assert_eq!(server.asked(), 2);

    advance(MIN_FETCH_INTERVAL).await;
    let jwt = Arc::new(jwt);
    let mut storm = JoinSet::new();
    for _ in 0..100 {
        let (jwt, token) = (Arc::clone(&jwt), forged.token());
        storm.spawn(async move { assert_eq!(user_id_of(&*jwt, &token).await, Err(AuthError::Rejected)) });
    }
    storm.join_all().await;
    assert_eq!(server.asked(), 3);
    says(&jwt, &old, ALICE).await;
}

#[tokio::test]
async fn old_keys_are_fetched_again_behind_the_users_back() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let server = KeyServer::new(keys(&[&old])).await;
    let jwt = server.jwt().refresh(Duration::from_secs(60));
    says(&jwt, &old, ALICE).await;

    advance(Duration::from_secs(59)).await;
    says(&jwt, &old, ALICE).await;
    assert_eq!(server.asked(), 1);

    server.say(keys(&[&new]));
    server.state.may.forget_permits(1_000);
    advance(Duration::from_secs(1)).await;
    // The server doesn't answer yet, and nobody waits for it.
    says(&jwt, &old, ALICE).await;
    says(&jwt, &old, ALICE).await;
    server.until_asked(2).await;
    server.state.may.add_permits(1);
    // Nobody knows this key: its user waits for the fetch under way.
    says(&jwt, &new, ALICE).await;
    says(&jwt, &old, REJECTED).await;
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_key_server_of_no_use_changes_nothing() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let server = KeyServer::new(keys(&[&old])).await;
    let jwt = server.jwt().refresh(Duration::ZERO);
    says(&jwt, &old, ALICE).await;
    let answers = [
        String::new(),
        http("503 Service Unavailable", &set(&[new.jwk()])),
        http("302 Found\r\nlocation: /elsewhere", ""),
        http("200 OK", "<html>"),
        http("200 OK", r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#),
        http("200 OK", &" ".repeat(2 << 20)),
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
    ];
    for answer in answers {
        server.say(answer.clone());
        let asked = server.asked();
        advance(MIN_FETCH_INTERVAL).await;
        says(&jwt, &new, UNAVAILABLE).await;
        says(&jwt, &old, ALICE).await;
        assert!(server.asked() > asked, "{answer:.40}");
    }
    server.say(keys(&[&new]));
    advance(MIN_FETCH_INTERVAL).await;
    says(&jwt, &new, ALICE).await;
    says(&jwt, &old, REJECTED).await;
}

#[tokio::test]
async fn without_any_keys_nobody_is_told() {
    let issuer = Issuer::new("a");
    let server = KeyServer::new(String::new()).await;
    let jwt = server.jwt();
    says(&jwt, &issuer, UNAVAILABLE).await;
    let asked = server.asked();
    server.say(keys(&[&issuer]));
    says(&jwt, &issuer, UNAVAILABLE).await;
    assert_eq!(server.asked(), asked, "within the floor");
    advance(MIN_FETCH_INTERVAL_WITHOUT_KEYS).await;
    says(&jwt, &issuer, ALICE).await;

    // Away altogether: nobody listens.
    drop(server);
    advance(MIN_FETCH_INTERVAL).await;
    says(&jwt, &Issuer::new("b"), UNAVAILABLE).await;
    says(&jwt, &issuer, ALICE).await;
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_the_fetch_to_others() {
    let issuer = Issuer::new("a");
    let server = KeyServer::new(keys(&[&issuer])).await;
    server.state.may.forget_permits(1_000);
    let jwt = Arc::new(server.jwt());
    let first = tokio::spawn({
        let (jwt, token) = (Arc::clone(&jwt), issuer.token());
        async move { user_id_of(&*jwt, &token).await }
    });
    server.until_asked(1).await;
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    server.state.may.add_permits(1);
    says(&jwt, &issuer, ALICE).await;
    assert_eq!(server.asked(), 1);
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
