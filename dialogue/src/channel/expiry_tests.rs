//! Tokens that end while their connections have something else to do, or while the machine sleeps.

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

use crate::{AuthError, Authenticated, Authenticator, Credentials, identity::Clock};

#[dialogue::event]
struct Message {
    text: String,
}

dialogue::rooms! {
    struct Acme;

    chat: [Message] via [websocket, sse];
}

/// Seconds for which a token holds.
const LIFETIME: u64 = 3_600;

/// A wall clock that goes on as a test says, and otherwise stands still.
#[derive(Clone)]
struct Wall {
    began: SystemTime,
    seconds: Arc<AtomicU64>,
}

impl Wall {
    fn new() -> Self {
        Wall { began: SystemTime::now(), seconds: Arc::default() }
    }

    fn clock(&self) -> Clock {
        let Wall { began, seconds } = self.clone();
        Clock::new(move || began + Duration::from_secs(seconds.load(Ordering::SeqCst)))
    }

    fn go_on(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// Lets everybody in for [`LIFETIME`].
struct Porter(Wall);

impl Authenticator for Porter {
    type Identity = ();

    async fn authenticate(&self, _: &Credentials<'_>) -> Result<Authenticated<()>, AuthError> {
        Ok(Authenticated::new("alice", ()).expires(self.0.began + Duration::from_secs(LIFETIME)))
    }
}

async fn serve(wall: &Wall) -> AcmeServer {
    Acme::server().auth(Porter(wall.clone())).wall_clock(wall.clock()).build().await.unwrap()
}

async fn get(server: &AcmeServer, path: &str) -> Response {
    let request = http::Request::builder().uri(path).header("authorization", "Bearer x");
    TowerToHyperService::new(server.router()).call(request.body(Body::empty()).unwrap()).await.unwrap()
}

/// All that a body has now, and whether it is at its end.
fn taken(body: &mut Body) -> (String, bool) {
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
    let wall = Wall::new();
    let server = serve(&wall).await;
    let mut body = get(&server, "/events?room=chat").await.into_body();
    assert!(taken(&mut body).0.contains("dialogue:joined"));
    for number in 0..100 {
        server.chat().trigger(Message { text: number.to_string() }).await.unwrap();
    }
    wall.go_on(LIFETIME);
    // A look at the clock later, though nobody reads.
    sleep(Duration::from_secs(6)).await;
    assert!(server.chat().members().await.unwrap().is_empty());
    let (rest, over) = taken(&mut body);
    assert!(
        over && rest.starts_with("event: dialogue:error\n") && rest.contains("UNAUTHENTICATED"),
        "{rest}"
    );
    assert_eq!(rest.matches("event:").count(), 1, "{rest}");
}

#[tokio::test(start_paused = true)]
async fn what_a_removed_stream_was_not_sent_is_not_delivered() {
    let server = serve(&Wall::new()).await;
    let mut body = get(&server, "/events?room=chat").await.into_body();
    taken(&mut body);
    server.chat().trigger(Message { text: "secret".to_owned() }).await.unwrap();
    server.users().get("alice").disconnect("enough").await.unwrap();
    assert_eq!(taken(&mut body), (String::new(), true));
}

#[tokio::test]
async fn a_machine_that_sleeps_prolongs_no_token() {
    let wall = Wall::new();
    let server = serve(&wall).await;
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

    // The monotonic clock, by which timers count, has stood still.
    wall.go_on(LIFETIME);
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
