//! A server in this process.

use std::{net::SocketAddr, time::Duration};

use dialogue::{Server, server::ServerBuilder};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use super::{Result, connect, soon};

/// Said by a member.
#[dialogue::event]
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) text: String,
}

/// Heard by whoever is there and listens.
#[dialogue::event(ephemeral)]
#[derive(Debug)]
pub(crate) struct Noise {
    pub(crate) number: u64,
    pub(crate) pad: String,
}

/// Of which only the newest matters.
#[dialogue::event(latest = symbol, from = server)]
#[derive(Debug)]
pub(crate) struct Price {
    pub(crate) symbol: String,
    pub(crate) cents: u64,
    pub(crate) pad: String,
}

dialogue::rooms! {
    pub(crate) struct Acme;

    #[room(retain(events = 100_000))]
    chat: [Message, Noise] via [websocket, sse];

    #[room(retain(events = 10_000))]
    ticker: [Price] via [websocket, sse];

    project(u64): [Message] via [websocket, sse];

    /// What is said last, and nothing else.
    #[room(retain(events = 20), sync = 10)]
    synced: [Message] via [websocket, sse];
}

/// For how long a client may be silent, and take nothing, where its test says nothing of that: one that a test doesn't read
/// for a while is neither gone nor too slow, however busy the machine.
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

/// A server that listens; it drains when [`stop`](Running::stop) is called.
pub(crate) struct Running<S = AcmeServer> {
    pub(crate) server: S,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), dialogue::Error>>,
}

impl Running {
    pub(crate) async fn start() -> Result<Self> {
        Self::with(|server| server).await
    }

    pub(crate) async fn with(
        configure: impl FnOnce(ServerBuilder<Acme>) -> ServerBuilder<Acme>,
    ) -> Result<Self> {
        let server = Acme::server().keep_alive(HOUR, HOUR).stream_stall_timeout(HOUR);
        let server = configure(server).build().await?;
        let routes = server.router();
        Self::serve(server, routes).await
    }
}

impl<S: std::ops::Deref<Target = Server>> Running<S> {
    /// Serves `routes`, which those of `server` are a part of.
    pub(crate) async fn serve(server: S, routes: axum::Router) -> Result<Self> {
        let listener = Server::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let serving = Server::clone(&server);
        let stopped = async move { drop(stopped.await) };
        let task = tokio::spawn(async move { serving.serve_until(routes, listener, stopped).await });
        Ok(Running { server, address, stop, task })
    }

    /// Drains.
    pub(crate) async fn stop(self) -> Result {
        let _ = self.stop.send(());
        Ok(soon("the server drains", self.task).await???)
    }
}

/// A connection from a client that takes little before it stalls.
pub(crate) async fn small_window(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4 << 10)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An answer to a request over HTTP: its status and its body.
pub(crate) type Answer = (u16, Value);

/// Triggers an event over HTTP.
pub(crate) async fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> Result<Answer> {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    answer(connect(address).await?, &request).await
}

/// Sends a request that asks for the end of the connection, and reads to there.
pub(crate) async fn answer(stream: TcpStream, request: &str) -> Result<Answer> {
    let (head, body) = exchange(stream, request).await?;
    let status = head.split(' ').nth(1).ok_or("no status line")?.parse()?;
    Ok((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
}

/// Asks with a request that has no body; yields the head of the answer, and its body.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> Result<(String, String)> {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    exchange(connect(address).await?, &request).await
}

async fn exchange(mut stream: TcpStream, request: &str) -> Result<(String, String)> {
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    soon("an answer", stream.read_to_string(&mut text)).await??;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no end of the head")?;
    Ok((head.to_owned(), body.to_owned()))
}
