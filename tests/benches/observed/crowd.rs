//! Sockets that join a room, take what comes, and count it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::Result;

pub(crate) struct Crowd(Vec<JoinHandle<usize>>);

/// What each event has in it once.
const MARK: &[u8] = b"\"eventId\"";

/// Connects and joins one after the other; they read from then on.
pub(crate) fn gather(address: &str, members: usize) -> Result<Crowd> {
    let joined = (0..members).map(|_| join(address)).collect::<Result<Vec<_>>>()?;
    Ok(Crowd(joined.into_iter().map(|socket| thread::spawn(|| count(socket))).collect()))
}

impl Crowd {
    /// How many events came, all together, until the server went.
    pub(crate) fn hear_out(self) -> usize {
        self.0.into_iter().map(|member| member.join().unwrap_or(0)).sum()
    }
}

fn join(address: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    socket.write_all(
        format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .as_bytes(),
    )?;
    let join = br#"{"type":"join","roomId":"crowd"}"#;
    // A mask of zeros leaves the text as it is.
    let mut frame = vec![0x81, 0x80 | u8::try_from(join.len())?, 0, 0, 0, 0];
    frame.extend_from_slice(join);
    socket.write_all(&frame)?;
    let mut read = Vec::new();
    let mut some = [0; 4_096];
    while !contains(&read, b"\"joined\"") || !read.ends_with(b"}") {
        match socket.read(&mut some)? {
            0 => return Err("the server closed".into()),
            length => read.extend_from_slice(&some[..length]),
        }
    }
    Ok(socket)
}

fn count(mut socket: TcpStream) -> usize {
    let (mut held, mut some, mut seen) = (Vec::new(), vec![0; 64 << 10], 0);
    while let Ok(length @ 1..) = socket.read(&mut some) {
        held.extend_from_slice(&some[..length]);
        seen += held.windows(MARK.len()).filter(|part| *part == MARK).count();
        // What may be the beginning of a mark stays.
        held.drain(..held.len().saturating_sub(MARK.len() - 1));
    }
    seen
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
