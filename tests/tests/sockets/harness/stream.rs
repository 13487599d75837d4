//! A reader of Server-Sent Events over HTTP/1.1, as small as can be.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{Result, connect, soon};

/// A stream whose rooms said `dialogue:joined`.
pub(crate) struct Stream {
    wire: BufReader<TcpStream>,
    text: String,
    /// What a browser would come back with.
    pub(crate) last_id: String,
    /// The `joined` of the first room.
    pub(crate) joined: Value,
}

impl Stream {
    /// Opens the stream that `query` names; `last_id` is empty on a first load.
    pub(crate) async fn open(address: SocketAddr, query: &str, last_id: &str) -> Result<Self> {
        Self::over(connect(address).await?, &format!("/events?{query}"), last_id).await
    }

    pub(crate) async fn over(wire: TcpStream, path: &str, last_id: &str) -> Result<Self> {
        let last = if last_id.is_empty() { String::new() } else { format!("Last-Event-ID: {last_id}\r\n") };
        Self::with(wire, path, last_id, &last).await
    }

    /// Opens the stream at `path` with more headers, each with its line's end.
    pub(crate) async fn with(mut wire: TcpStream, path: &str, last_id: &str, headers: &str) -> Result<Self> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{headers}\r\n");
        wire.write_all(request.as_bytes()).await?;
        let mut stream = Stream {
            wire: BufReader::new(wire),
            text: String::new(),
            last_id: last_id.to_owned(),
            joined: Value::Null,
        };
        let head = soon("a head", stream.head()).await??;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(head.into());
        }
        stream.joined = match stream.next().await? {
            Some((event, joined)) if event == "dialogue:joined" => joined,
            other => return Err(format!("the stream begins with {other:?}").into()),
        };
        Ok(stream)
    }

    /// The next event and its data; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<(String, Value)>> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(message) = self.message(&block)? {
                    return Ok(Some(message));
                }
            }
            if !soon("a part of the stream", self.chunk()).await?? {
                return Ok(None);
            }
        }
    }

    /// The next `count` events of rooms.
    pub(crate) async fn events(&mut self, count: usize) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        while events.len() < count {
            let (_, data) = self.next().await?.ok_or("the stream ended")?;
            if data["type"] == "event" {
                events.push(data);
            }
        }
        Ok(events)
    }

    /// Breaks off with a reset.
    pub(crate) fn reset(self) -> Result {
        Ok(socket2::SockRef::from(self.wire.get_ref()).set_linger(Some(std::time::Duration::ZERO))?)
    }

    fn message(&mut self, block: &str) -> Result<Option<(String, Value)>> {
        let (mut event, mut data) = (String::new(), None);
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut self.last_id),
                Some(("event", name)) => name.clone_into(&mut event),
                Some(("data", json)) => data = Some(serde_json::from_str(json)?),
                _ => {}
            }
        }
        Ok(data.map(|data| (event, data)))
    }

    async fn head(&mut self) -> Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.wire.read_line(&mut head).await? == 0 {
                return Err("no answer".into());
            }
        }
        Ok(head)
    }

    /// Reads one chunk (RFC 9112, section 7.1); whether there was one.
    async fn chunk(&mut self) -> Result<bool> {
        let mut size = String::new();
        self.wire.read_line(&mut size).await?;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or(0);
        let mut chunk = vec![0; size + 2];
        if size == 0 || self.wire.read_exact(&mut chunk).await.is_err() {
            return Ok(false);
        }
        self.text.push_str(std::str::from_utf8(&chunk[..size])?);
        Ok(true)
    }
}
