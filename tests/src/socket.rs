//! A WebSocket client by somebody else, and the frames on it.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::HeaderValue,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::{Result, soon};

/// What a WebSocket runs over.
pub trait Wire: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

/// A client that was greeted.
#[derive(Debug)]
pub struct Socket<W = TcpStream> {
    /// Its frames, as they come.
    pub frames: WebSocketStream<W>,
    /// Of the room that was joined last.
    epoch: String,
    /// Position after the last event or join.
    since: Value,
}

impl Socket {
    /// Opens a socket.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        Self::over(connect(address).await?, "/ws").await
    }

    /// Opens a socket with a token.
    pub async fn open_as(address: SocketAddr, token: &str) -> Result<Self> {
        let header = format!("Bearer {token}");
        Self::knock(connect(address).await?, "/ws", ("authorization", &header)).await?.greeted().await
    }

    /// Opens a socket with an anonymous token, or none; yields the token of the user that it is.
    pub async fn anonymous(address: SocketAddr, token: &str) -> Result<(Self, String)> {
        let header = format!("Bearer {token}");
        let header = if token.is_empty() { ("", "") } else { ("authorization", header.as_str()) };
        let mut socket = Self::knock(connect(address).await?, "/ws", header).await?;
        let greeting = socket.next().await?;
        let token = greeting["anonymousToken"].as_str().ok_or("no token")?;
        Ok((socket, token.to_owned()))
    }

    /// Opens a socket that has joined `room`.
    pub async fn join(address: SocketAddr, room: &str) -> Result<Self> {
        let mut socket = Self::open(address).await?;
        socket.be_let_in(room, Value::Null).await?;
        Ok(socket)
    }

    /// Comes back to `room`, having seen what is before `since`; yields `joined` too.
    pub async fn rejoin(address: SocketAddr, room: &str, since: Value) -> Result<(Self, Value)> {
        let mut socket = Self::open(address).await?;
        let joined = socket.be_let_in(room, since).await?;
        Ok((socket, joined))
    }

    /// The status that refuses a socket at `path`.
    pub async fn refusal(address: SocketAddr, path: &str) -> Result<u16> {
        let opening =
            tokio_tungstenite::client_async(format!("ws://localhost{path}"), connect(address).await?);
        match soon("an answer", opening).await? {
            Err(Error::Http(response)) => Ok(response.status().as_u16()),
            Err(other) => Err(other.into()),
            Ok(_) => Err("the socket was opened".into()),
        }
    }

    /// Breaks off with a reset, as when a process is killed or a network forgets.
    pub fn reset(self) -> Result {
        Ok(socket2::SockRef::from(self.frames.get_ref()).set_linger(Some(Duration::ZERO))?)
    }
}

impl<W: Wire> Socket<W> {
    /// Opens a socket that isn't greeted yet, by a handshake with one more header if it has a name.
    pub async fn knock(wire: W, path: &str, header: (&'static str, &str)) -> Result<Self> {
        // The client's default buffer is 128 KiB; there are thousands of clients here.
        let config = WebSocketConfig::default().read_buffer_size(4 << 10);
        let mut request = format!("ws://localhost{path}").into_client_request()?;
        if !header.0.is_empty() {
            request.headers_mut().insert(header.0, HeaderValue::from_str(header.1)?);
        }
        let opening = client_async_with_config(request, wire, Some(config));
        let (frames, _) = soon("a handshake", opening).await??;
        Ok(Socket { frames, epoch: String::new(), since: Value::Null })
    }

    /// Opens a socket at `path`.
    pub async fn over(wire: W, path: &str) -> Result<Self> {
        Self::knock(wire, path, ("", "")).await?.greeted().await
    }

    /// Opens a socket with a token.
    pub async fn over_as(wire: W, token: &str) -> Result<Self> {
        let header = format!("Bearer {token}");
        Self::knock(wire, "/ws", ("authorization", &header)).await?.greeted().await
    }

    /// Speaks over a wire on which the handshake is done.
    pub async fn framed(wire: W) -> Result<Self> {
        let frames = WebSocketStream::from_raw_socket(wire, Role::Client, None).await;
        Ok(Socket { frames, epoch: String::new(), since: Value::Null })
    }

    /// Reads the greeting.
    pub async fn greeted(mut self) -> Result<Self> {
        match self.next().await? {
            greeting if greeting["type"] == "connected" => Ok(self),
            other => Err(format!("the first frame is {other}").into()),
        }
    }

    /// Joins `room`; yields `joined`.
    pub async fn enter(&mut self, room: &str, since: Value) -> Result<Value> {
        let mut join = json!({ "type": "join", "id": "join", "roomId": room });
        if !since.is_null() {
            join["since"] = since.clone();
        }
        let joined = self.ask(join).await?;
        self.epoch = joined["epoch"].as_str().unwrap_or_default().to_owned();
        self.since = if joined["resume"] == "complete" { since } else { position(&self.epoch, &joined) };
        Ok(joined)
    }

    /// Joins `room`, and again as long as its log can't be read in time, as every client does; yields what came of it.
    pub async fn be_let_in(&mut self, room: &str, since: Value) -> Result<Value> {
        const PAUSE: Duration = Duration::from_millis(200);
        soon("a place in a room", async {
            loop {
                let joined = self.enter(room, since.clone()).await?;
                if !is_refused(&joined, "UNAVAILABLE") {
                    return Ok(joined);
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await?
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: Value) -> Result {
        self.send_text(frame.to_string()).await
    }

    /// Sends a text.
    pub async fn send_text(&mut self, text: String) -> Result {
        Ok(soon("a frame to be taken", self.frames.send(Message::text(text))).await??)
    }

    /// Sends a request with an `id`; yields the reply to it.
    pub async fn ask(&mut self, frame: Value) -> Result<Value> {
        let id = frame["id"].clone();
        self.send(frame).await?;
        loop {
            let reply = self.next().await?;
            if reply["id"] == id {
                return Ok(reply);
            }
        }
    }

    /// Says `text` without waiting for the `ok`, whose `id` is `text` too.
    pub async fn say(&mut self, room: &str, text: &str) -> Result {
        self.send(
            json!({ "type": "trigger", "id": text, "roomId": room, "event": "message", "data": { "text": text } }),
        )
        .await
    }

    /// The next frame.
    pub async fn next(&mut self) -> Result<Value> {
        match self.next_or_close().await? {
            Ok(frame) => Ok(frame),
            Err(code) => Err(format!("closed with {code:?} instead of a frame").into()),
        }
    }

    /// The next frame, or the code of the close; `None` where the connection broke off without one.
    pub async fn next_or_close(&mut self) -> Result<Result<Value, Option<u16>>> {
        loop {
            match soon("a frame", self.frames.next()).await? {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text)?;
                    if frame["type"] == "event" && frame["seq"].is_u64() {
                        self.since = position(&self.epoch, &frame);
                    }
                    return Ok(Ok(frame));
                }
                Some(Ok(Message::Close(close))) => return Ok(Err(close.map(|close| close.code.into()))),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(Err(None)),
            }
        }
    }

    /// The next `count` events; replies and notices between them are left out.
    pub async fn events(&mut self, count: usize) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        while events.len() < count {
            let frame = self.next().await?;
            if frame["type"] == "event" {
                events.push(frame);
            }
        }
        Ok(events)
    }

    /// Everything up to the close, and its code.
    pub async fn rest(&mut self) -> Result<(Vec<Value>, Option<u16>)> {
        let mut frames = Vec::new();
        loop {
            match self.next_or_close().await? {
                Ok(frame) => frames.push(frame),
                Err(code) => return Ok((frames, code)),
            }
        }
    }

    /// The position to come back with.
    pub fn since(&self) -> Value {
        self.since.clone()
    }

    /// Says goodbye, as a page that is left.
    pub async fn close(mut self) -> Result {
        self.frames.close(None).await?;
        self.rest().await.map(drop)
    }
}

/// Whether `frame` is an `error` with `code`.
pub fn is_refused(frame: &Value, code: &str) -> bool {
    frame["type"] == "error" && frame["code"] == code
}

/// A connection whose frames leave at once.
pub async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Where a reader stands that saw `joined` or `event`, as `since`.
pub fn position(epoch: &str, frame: &Value) -> Value {
    json!({ "epoch": epoch, "seq": frame["seq"], "eventId": frame["eventId"] })
}
