//! Servers that do what a test tells them.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

/// What a client does not do in this time, it never does.
const LIMIT: Duration = Duration::from_secs(10);

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("the client does nothing")
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

    async fn read(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
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
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
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

    /// Opens the stream with `joined`.
    pub(crate) async fn stream(mut self, resume: &str, seq: u64) -> Self {
        self.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 1\n\n").await;
        let joined = json!({"type":"joined","roomId":"feed","epoch":"e.1","seq":seq,
            "eventId":format!("id{seq}"),"resume":resume,"replay":0,"members":1});
        self.say("dialogue:joined", joined).await;
        self
    }

    pub(crate) async fn post(&mut self, seq: u64) {
        let frame = json!({"type":"event","roomId":"feed","event":"new-post","data":{"title":"news"},"from":"system",
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

    async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}
