//! The floor: one thread that takes what is there, lays its frames out once and writes them to each member once.
//! It checks nothing, keeps nothing and drops what a socket refuses.

use std::io::{self, Read, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use memchr::memmem;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use sha1::{Digest, Sha1};

const LISTENER: Token = Token(usize::MAX);

#[derive(Default)]
struct Floor {
    connections: Vec<Connection>,
    rooms: Vec<Room>,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// The room that it publishes to.
    publishes: Option<usize>,
}

#[derive(Default)]
struct Room {
    members: Vec<usize>,
    waiting: Vec<u8>,
}

/// Serves until the process is killed.
pub(crate) fn serve() -> io::Result<()> {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1_024);
    let mut scratch = vec![0; 256 << 10];
    let mut floor = Floor::default();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => {
                    while let Ok((mut stream, _)) = listener.accept() {
                        stream.set_nodelay(true)?;
                        let token = Token(floor.connections.len());
                        poll.registry().register(&mut stream, token, Interest::READABLE)?;
                        let connection = Connection { stream, input: Vec::new(), publishes: None };
                        floor.connections.push(connection);
                    }
                }
                Token(number) => floor.read(number, &mut scratch)?,
            }
        }
        floor.write();
    }
}

impl Floor {
    fn read(&mut self, number: usize, scratch: &mut [u8]) -> io::Result<()> {
        let connection = &mut self.connections[number];
        while let Ok(read @ 1..) = connection.stream.read(scratch) {
            connection.input.extend_from_slice(&scratch[..read]);
            if read < scratch.len() {
                break;
            }
        }
        let Some(room) = connection.publishes else { return self.greet(number) };
        let mut at = 0;
        while let Some((payload, end)) = client_frame(&connection.input[at..]) {
            put_frame(&mut self.rooms[room].waiting, &payload);
            at += end;
        }
        connection.input.drain(..at);
        Ok(())
    }

    /// Answers the handshake once it is whole.
    fn greet(&mut self, number: usize) -> io::Result<()> {
        let connection = &mut self.connections[number];
        if memmem::find(&connection.input, b"\r\n\r\n").is_none() {
            return Ok(());
        }
        let request = String::from_utf8_lossy(&std::mem::take(&mut connection.input)).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let room: usize = path.rsplit('/').next().and_then(|room| room.parse().ok()).unwrap_or(0);
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or("");
        let accept = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let accept = STANDARD.encode(accept.finalize());
        write!(
            connection.stream,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )?;
        if self.rooms.len() <= room {
            self.rooms.resize_with(room + 1, Room::default);
        }
        if path.starts_with("/pub/") {
            connection.publishes = Some(room);
        } else {
            self.rooms[room].members.push(number);
        }
        Ok(())
    }

    fn write(&mut self) {
        for room in self.rooms.iter_mut().filter(|room| !room.waiting.is_empty()) {
            for member in &room.members {
                // What isn't taken is missing in the table.
                let _ = self.connections[*member].stream.write(&room.waiting);
            }
            room.waiting.clear();
        }
    }
}

/// The frame of a client at the start of `bytes`, unmasked, and where it ends.
fn client_frame(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (start, length) = match *bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?).try_into().ok()?),
        short => (2, usize::from(short)),
    };
    let mask = bytes.get(start..start + 4)?;
    let end = start + 4 + length;
    let payload = bytes.get(start + 4..end)?.iter().zip(mask.iter().cycle());
    Some((payload.map(|(byte, mask)| byte ^ mask).collect(), end))
}

fn put_frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x81);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        // The load has no larger ones.
        _ => {
            out.pop();
            return;
        }
    }
    out.extend_from_slice(payload);
}
