//! Against our own server, over a line that is cut again and again.

use std::{net::SocketAddr, time::Duration};

use dialogue::{
    Authenticator,
    client::{ErrorKind, Interruption, Lost, Resume, Status},
    identity::{AuthError, Authenticated, Credentials},
};
use tokio::{
    io::copy_bidirectional,
    join,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{Acme, AcmeClient, AcmeServer, ChatEvent, FeedEvent, NewPost, connect, fake::soon, message};

/// A server, and a line to it.
struct World {
    server: AcmeServer,
    direct: String,
    cut: watch::Sender<()>,
    line: String,
    _tasks: JoinSet<()>,
}

/// An authenticator that takes a token for its user's name.
struct Names;

impl Authenticator for Names {
    type Identity = ();

    async fn authenticate(&self, shown: &Credentials<'_>) -> Result<Authenticated<()>, AuthError> {
        Ok(Authenticated::new(shown.token().ok_or(AuthError::Rejected)?, ()))
    }
}

impl World {
    async fn new() -> Self {
        Self::with(Acme::server().build().await.unwrap()).await
    }

    async fn with(server: AcmeServer) -> Self {
        let (listener, address) = listen().await;
        let (serving, app) = (server.clone(), server.router());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serving.serve_until(app, listener, std::future::pending()).await.unwrap() });
        let (line_listener, line) = listen().await;
        let (cut, cuts) = watch::channel(());
        tasks.spawn(relay(line_listener, address, cuts));
        World {
            server,
            direct: format!("http://{address}"),
            cut,
            line: format!("http://{line}"),
            _tasks: tasks,
        }
    }

    async fn client(&self, url: &str) -> AcmeClient {
        connect(url.to_owned()).await.unwrap()
    }

    fn cut(&self) {
        self.cut.send_replace(());
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Passes bytes on; whatever is connected when it is cut, is connected no more.
async fn relay(listener: TcpListener, to: SocketAddr, cuts: watch::Receiver<()>) {
    let mut lines = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut cuts = cuts.clone();
        cuts.mark_unchanged();
        lines.spawn(async move {
            let mut far = TcpStream::connect(to).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_over_a_line_that_is_cut() {
    const SENDS: u64 = 60;
    let world = World::new().await;
    let (alice, bob) = join!(world.client(&world.line), world.client(&world.direct));
    let (mut alice, mut bob) = (alice.chat().join().await.unwrap(), bob.chat().join().await.unwrap());
    let sender = alice.sender();
    let send = async {
        for n in 1..=SENDS {
            if n % 7 == 0 {
                world.cut();
            }
            assert_eq!(sender.send(message(&n.to_string())).await.unwrap().seq, Some(n));
        }
    };
    let alice_reads = read(&mut alice, SENDS);
    let bob_reads = read(&mut bob, SENDS);
    let ((), alice, bob) = join!(send, alice_reads, bob_reads);
    let all: Vec<_> = (1..=SENDS).map(|n| (Some(n), n.to_string())).collect();
    assert_eq!((&alice, &bob), (&all, &all));
}

async fn read(chat: &mut crate::ChatClient, count: u64) -> Vec<(Option<u64>, String)> {
    let mut read = Vec::new();
    for _ in 0..count {
        let delivery = chat.next().await.unwrap().unwrap();
        let ChatEvent::Message(message) = delivery.event else { panic!("not a message") };
        read.push((delivery.seq, message.text));
    }
    read
}

#[tokio::test]
async fn a_stream_over_a_line_that_is_cut_misses_nothing() {
    let world = World::new().await;
    let client = connect(world.line.clone()).lazy().await.unwrap();
    let mut feed = client.feed().join().await.unwrap();
    for n in 1..=30 {
        if n % 5 == 0 {
            world.cut();
        }
        world.server.feed().trigger(NewPost { title: n.to_string() }).await.unwrap();
    }
    for n in 1..=30_u64 {
        let delivery = feed.next().await.unwrap().unwrap();
        let FeedEvent::NewPost(post) = delivery.event;
        assert_eq!((delivery.seq, post.title), (Some(n), n.to_string()));
    }
    assert_eq!(feed.history().limit(2).await.unwrap().older(), Some(29));
}

#[tokio::test]
async fn a_server_that_wants_a_token_is_told_of_at_once() {
    // So patient that only the client can end it.
    let patient = Acme::server().auth(Names).auth_timeout(Duration::from_secs(3_600));
    let world = World::with(patient.build().await.unwrap()).await;
    let error = connect(world.direct.clone()).await.err().unwrap();
    let lazy = async || connect(world.direct.clone()).lazy().await.unwrap();
    let socket = lazy().await.chat().join().await.err().unwrap();
    let stream = lazy().await.feed().join().await.err().unwrap();
    for error in [error, socket, stream] {
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.to_string().contains("requires a token"), "{error}");
    }
    let named = connect(world.direct.clone()).token("alice").await.unwrap();
    assert!(matches!(named.status(), Status::Online(identity) if identity.user_id == "alice"));
}

#[tokio::test]
async fn who_need_not_show_a_token_is_let_in() {
    let world = World::with(Acme::server().auth(Names).allow_anonymous().build().await.unwrap()).await;
    let client = world.client(&world.direct).await;
    client.chat().join().await.unwrap();
    client.feed().join().await.unwrap();
}

#[tokio::test]
async fn a_server_that_started_anew_says_lost() {
    let first = World::new().await;
    let chat = first.client(&first.direct).await.chat().join().await.unwrap();
    chat.send(message("hi")).await.unwrap();
    let position = chat.joined().head.clone();
    let second = World::new().await;
    let mut chat = second.client(&second.direct).await.chat().since(position).join().await.unwrap();
    assert_eq!(chat.joined().resume, Resume::Lost);
    assert!(matches!(chat.next().await, Err(Interruption::Lost(Lost { .. }))));
}

#[tokio::test]
async fn an_anonymous_user_stays_the_same_and_can_ask() {
    let world = World::new().await;
    let client = world.client(&world.line).await;
    let mut statuses = client.statuses();
    let Some(Status::Online(first)) = statuses.next().await else { panic!("not online") };
    let chat = client.chat().join().await.unwrap();
    let before = chat.members(10, None).await.unwrap();
    world.cut();
    while matches!(statuses.next().await, Some(Status::Online(identity)) if identity == first) {}
    let after = chat.members(10, None).await.unwrap();
    assert_eq!(before.members[0].user_id, after.members[0].user_id);
    chat.leave().await.unwrap();
    client.chat().join().await.unwrap();
}

#[tokio::test]
async fn a_reader_that_is_megabytes_behind_gets_every_event_once() {
    const EVENTS: u64 = 200;
    let world = World::new().await;
    let client = world.client(&world.direct).await;
    let (chat, feed) = join!(client.chat().join(), client.feed().join());
    let (mut chat, mut feed) = (chat.unwrap(), feed.unwrap());
    for _ in 0..EVENTS {
        let (text, title) = ("x".repeat(60_000), "x".repeat(60_000));
        world.server.chat().trigger(message(&text)).await.unwrap();
        world.server.feed().trigger(NewPost { title }).await.unwrap();
    }
    let read = async {
        for seq in 1..=EVENTS {
            assert_eq!(chat.next().await.unwrap().unwrap().seq, Some(seq));
            assert_eq!(feed.next().await.unwrap().unwrap().seq, Some(seq));
        }
    };
    soon(Duration::from_secs(60), "all events", read).await;
}
