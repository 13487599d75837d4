//! Servers that do what a test tells them.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::{
            derive_accept_key,
            server::{Request, Response},
        },
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

/// Time in which a client does whatever it does.
const LIMIT: Duration = Duration::from_secs(10);

async fn within<T>(what: impl Future<Output = T>) -> T {
    soon(LIMIT, "the client does something", what).await
}

/// Panics with what was late: text in which that comes first is no fault.
pub(crate) async fn soon<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    deadline::within(limit, what, future).await.unwrap_or_else(|late| panic!("{late}"))
}

pub(crate) struct Fake {
    listener: TcpListener,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Fake { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/api/", self.listener.local_addr().unwrap())
    }

    /// The next connection, shaken hands with.
    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        let mut token = None;
        #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
        let look = |request: &Request, mut response: Response| {
            assert_eq!(request.uri().path(), "/api/ws");
            assert_eq!(request.headers()["sec-websocket-protocol"], "dialogue.v1");
            token = request.headers().get("authorization").map(|token| token.to_str().unwrap().to_owned());
            response.headers_mut().insert("sec-websocket-protocol", "dialogue.v1".parse().unwrap());
            Ok(response)
        };
        let socket = accept_hdr_async(stream, look).await.unwrap();
        Peer { socket, token }
    }

    /// The next connection, welcomed.
    pub(crate) async fn welcome(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.say(
            json!({"type":"connected","clientId":"c1","userId":"alice","protocol":1,"anonymousToken":"anon"}),
        )
        .await;
        peer
    }

    /// The next connection, as far as an HTTP request on it.
    pub(crate) async fn request(&self) -> Asked {
        let (mut stream, _) = within(self.listener.accept()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        Asked { stream, head: String::from_utf8(head).unwrap() }
    }
}

/// A socket's other end.
pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
    pub(crate) token: Option<String>,
}

impl Peer {
    /// The next frame, which is of type `kind`.
    pub(crate) async fn hear(&mut self, kind: &str) -> Value {
        let frame = within(self.read()).await.expect("a frame");
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The frame by which a client that isn't welcomed finds out whether a token is wanted.
    pub(crate) async fn probed(&mut self) -> Value {
        loop {
            if let Message::Text(text) = within(self.socket.next()).await.expect("a frame").unwrap() {
                let frame = serde_json::from_str(&text).unwrap();
                assert!(is_probe(&frame), "{frame}");
                return frame;
            }
        }
    }

    /// The next frame but a probe, which a client sends wherever a slow machine is late with the welcome.
    async fn read(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) => {
                    let frame = serde_json::from_str(&text).unwrap();
                    if !is_probe(&frame) {
                        return Some(frame);
                    }
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Waits until the client has gone.
    pub(crate) async fn gone(&mut self) {
        while within(self.read()).await.is_some() {}
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        self.say_text(frame.to_string()).await;
    }

    /// Sends what may be no frame.
    pub(crate) async fn say_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn answer(&mut self, request: &Value, mut frame: Value) {
        frame["id"] = request["id"].clone();
        self.say(frame).await;
    }

    /// Lets the client into a room whose log is at `seq`, and gives its request.
    pub(crate) async fn admit(&mut self, resume: &str, seq: u64) -> Value {
        let join = self.hear("join").await;
        let frame = json!({"type":"joined","roomId":join["roomId"],"name":"Room","epoch":"e","seq":seq,
            "eventId":format!("id{seq}"),"resume":resume,"replay":0,"members":1});
        self.answer(&join, frame).await;
        join
    }

    pub(crate) async fn accept(&mut self, trigger: &Value, seq: u64) {
        self.answer(trigger, json!({"type":"ok","seq":seq,"eventId":format!("id{seq}"),"timestamp":1})).await;
    }

    pub(crate) async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        self.socket.close(Some(frame)).await.unwrap();
        self.gone().await;
    }
}

fn is_probe(frame: &Value) -> bool {
    frame["type"] == "leave" && frame["roomId"] == ""
}

/// An `event` frame of room `chat`.
pub(crate) fn said(seq: u64, text: &str) -> Value {
    json!({"type":"event","roomId":"chat","event":"message","data":{"text":text},"from":"bob","timestamp":1,
        "eventId":format!("id{seq}"),"seq":seq})
}

/// An HTTP request, and where its answer goes.
pub(crate) struct Asked {
    stream: TcpStream,
    pub(crate) head: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) async fn answer(mut self, status: &str, body: &str) {
        let length = body.len();
        self.write(&format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")).await;
    }

    /// Answers with a body that comes some time after the head.
    pub(crate) async fn answer_slowly(mut self, status: &str, body: &str) {
        let length = body.len();
        self.write(&format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n")).await;
        for part in body.as_bytes().chunks(20) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.stream.write_all(part).await.unwrap();
        }
    }

    /// Returns the `Sec-WebSocket-Accept` that fits the request.
    pub(crate) fn accept_key(&self) -> String {
        derive_accept_key(self.header("sec-websocket-key").expect("a key").as_bytes())
    }

    /// Switches protocols, with these headers and what comes behind them, in one piece.
    pub(crate) async fn switch(mut self, headers: &[u8], behind: &[u8]) {
        let whole = [b"HTTP/1.1 101 Switching Protocols\r\n", headers, b"\r\n", behind].concat();
        self.stream.write_all(&whole).await.unwrap();
        self.gone().await;
    }

    /// Answers with a stream that ends after one `dialogue:error`, as a server does to a failure that passes.
    pub(crate) async fn fail(mut self, code: &str) {
        self.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 1\n").await;
        self.say("dialogue:error", json!({"type":"error","code":code,"message":"not now"})).await;
    }

    /// Opens the stream with `joined`.
    pub(crate) async fn stream(mut self, resume: &str, seq: u64) -> Self {
        self.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 1\n\n").await;
        self.joined("e.1", resume, seq).await;
        self
    }

    /// Says that the stream is in its room, whose log is at `seq`.
    pub(crate) async fn joined(&mut self, epoch: &str, resume: &str, seq: u64) {
        let joined = json!({"type":"joined","roomId":"feed","epoch":epoch,"seq":seq,
            "eventId":format!("id{seq}"),"resume":resume,"replay":0,"members":1});
        self.say("dialogue:joined", joined).await;
    }

    pub(crate) async fn post(&mut self, seq: u64) {
        self.post_titled(seq, "news").await;
    }

    pub(crate) async fn post_titled(&mut self, seq: u64, title: &str) {
        let frame = json!({"type":"event","roomId":"feed","event":"new-post","data":{"title":title},"from":"system",
            "server":true,"timestamp":1,"eventId":format!("id{seq}"),"seq":seq});
        self.say("new-post", frame).await;
    }

    pub(crate) async fn say(&mut self, event: &str, frame: Value) {
        self.write(&format!("event: {event}\ndata: {frame}\n\n")).await;
    }

    /// Waits until the client has gone.
    pub(crate) async fn gone(mut self) {
        let _end = within(self.stream.read(&mut [0])).await;
    }

    pub(crate) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}
