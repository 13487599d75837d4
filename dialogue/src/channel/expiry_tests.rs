//! Tests of tokens that expire while their connections are busy or stalled, or while the machine is suspended.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use axum::{body::Body, response::Response};
use http_body::Body as _;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::{
    Authenticator,
    identity::{AuthError, Authenticated, Clock, Credentials},
};

#[dialogue::event]
struct Message {
    text: String,
}

dialogue::rooms! {
    struct Acme;

    chat: [Message] via [websocket, sse];
}

/// The lifetime of a token in seconds.
const LIFETIME_SECS: u64 = 3_600;

/// A wall clock that only a test advances.
#[derive(Clone)]
struct ManualClock {
    started_at: SystemTime,
    seconds: Arc<AtomicU64>,
}

impl ManualClock {
    fn new() -> Self {
        ManualClock { started_at: SystemTime::now(), seconds: Arc::default() }
    }

    fn clock(&self) -> Clock {
        let ManualClock { started_at, seconds } = self.clone();
        Clock::new(move || started_at + Duration::from_secs(seconds.load(Ordering::SeqCst)))
    }

    fn advance(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// Authenticates every request as `alice` for [`LIFETIME_SECS`].
struct FixedLifetime(ManualClock);

impl Authenticator for FixedLifetime {
    type Identity = ();

    async fn authenticate(&self, _: &Credentials<'_>) -> Result<Authenticated<()>, AuthError> {
        Ok(Authenticated::new("alice", ()).expires(self.0.started_at + Duration::from_secs(LIFETIME_SECS)))
    }
}

async fn serve(clock: &ManualClock) -> AcmeServer {
    Acme::server().auth(FixedLifetime(clock.clone())).wall_clock(clock.clock()).build().await.unwrap()
}

async fn get(server: &AcmeServer, path: &str) -> Response {
    let request = http::Request::builder().uri(path).header("authorization", "Bearer x");
    TowerToHyperService::new(server.router()).call(request.body(Body::empty()).unwrap()).await.unwrap()
}

/// Returns the bytes that a body has now, and whether it has ended.
fn read_available(body: &mut Body) -> (String, bool) {
    let mut text = Vec::new();
    loop {
        match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(frame)) => text.extend_from_slice(&frame.unwrap().into_data().unwrap()),
            Poll::Ready(None) => return (String::from_utf8(text).unwrap(), true),
            Poll::Pending => return (String::from_utf8(text).unwrap(), false),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_lags_ends_with_its_token() {
    let clock = ManualClock::new();
    let server = serve(&clock).await;
    let mut body = get(&server, "/events?room=chat").await.into_body();
    assert!(read_available(&mut body).0.contains("dialogue:joined"));
    for number in 0..100 {
        server.chat().trigger(Message { text: number.to_string() }).await.unwrap();
    }
    clock.advance(LIFETIME_SECS);
    // The session task checks the clock, though the body isn't read.
    sleep(Duration::from_secs(6)).await;
    assert!(server.chat().members().await.unwrap().is_empty());
    let (rest, has_ended) = read_available(&mut body);
    assert!(
        has_ended && rest.starts_with("event: dialogue:error\n") && rest.contains("UNAUTHENTICATED"),
        "{rest}"
    );
    assert_eq!(rest.matches("event:").count(), 1, "{rest}");
}

#[tokio::test(start_paused = true)]
async fn queued_events_of_a_removed_stream_are_discarded() {
    let server = serve(&ManualClock::new()).await;
    let mut body = get(&server, "/events?room=chat").await.into_body();
    read_available(&mut body);
    server.chat().trigger(Message { text: "secret".to_owned() }).await.unwrap();
    server.users().get("alice").disconnect("enough").await.unwrap();
    assert_eq!(read_available(&mut body), (String::new(), true));
}

#[tokio::test]
async fn suspending_the_machine_prolongs_no_token() {
    let clock = ManualClock::new();
    let server = serve(&clock).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let routes = server.router();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     Authorization: Bearer x\r\n\r\n";
    socket.write_all(handshake.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("connected") {
        assert!(socket.read_buf(&mut read).await.unwrap() > 0);
    }
    assert_eq!(get(&server, "/rooms").await.status(), 200);

    // The monotonic clock of the timers has stood still.
    clock.advance(LIFETIME_SECS);
    assert_eq!(get(&server, "/rooms").await.status(), 401);
    assert_eq!(get(&server, "/events?room=chat").await.status(), 401);
    const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
    socket.write_all(&PING).await.unwrap();
    let ends = deadline::within(Duration::from_secs(20), "the end", socket.read_to_end(&mut read)).await;
    ends.unwrap_or_else(|late| panic!("{late}")).unwrap();
    // No pong, and a close frame with 4401.
    assert!(
        !read.ends_with(&[0x8a, 0])
            && read.windows(4).any(|bytes| bytes[0] == 0x88 && bytes[2..] == [17, 49])
    );
}
