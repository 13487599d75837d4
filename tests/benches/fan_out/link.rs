//! One connection to the server under load.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use memchr::memmem;
use mio::net::TcpStream;

use crate::{
    dialect::Dialect,
    wire::{put_client_frame, response_head, server_frame},
};

pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    pub(crate) state: State,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// How far a connection has got.
pub(crate) enum State {
    /// The upgrade is asked for; these frames are sent once it is granted.
    Upgrading {
        joins: Vec<String>,
    },
    /// So many joins aren't answered yet.
    Joining {
        left: usize,
    },
    Ready,
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Link {
    pub(crate) fn open(address: SocketAddr, path: &str, joins: Vec<String>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        // Reset when it is dropped, so that no closed connection lingers into the next run.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let output = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes();
        Ok(Link { stream, state: State::Upgrading { joins }, input: Vec::new(), output })
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// Lines a frame up.
    pub(crate) fn say(&mut self, frame: &str) {
        put_client_frame(&mut self.output, TEXT, frame.as_bytes());
    }

    /// Writes what is lined up, as far as the socket takes it; it is told when it takes more.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there and shows each message of a connection that is ready.
    pub(crate) fn read(&mut self, scratch: &mut [u8], mut show: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let read = match self.stream.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            let bytes = &scratch[..read];
            if self.input.is_empty() {
                let used = self.take(bytes, &mut show)?;
                self.input.extend_from_slice(&bytes[used..]);
            } else {
                let mut held = std::mem::take(&mut self.input);
                held.extend_from_slice(bytes);
                let used = self.take(&held, &mut show)?;
                held.drain(..used);
                self.input = held;
            }
            // The socket is drained: asking again would only cost a system call.
            if read < scratch.len() {
                return Ok(());
            }
        }
    }

    /// Takes what is whole; yields how many bytes that was.
    fn take(&mut self, bytes: &[u8], show: &mut impl FnMut(&[u8])) -> io::Result<usize> {
        let mut at = 0;
        if let State::Upgrading { joins } = &mut self.state {
            let Some((status, end)) = response_head(bytes) else { return Ok(0) };
            if status != "101" {
                return Err(io::Error::other(format!("the upgrade was refused with {status}")));
            }
            let joins = std::mem::take(joins);
            self.state = if joins.is_empty() { State::Ready } else { State::Joining { left: joins.len() } };
            joins.iter().for_each(|join| self.say(join));
            self.flush()?;
            at = end;
        }
        while let Some((opcode, payload, end)) = server_frame(&bytes[at..]) {
            match (opcode, &mut self.state) {
                (TEXT, State::Ready) => show(payload),
                (TEXT, State::Joining { left }) if is_joined(payload) => {
                    *left -= 1;
                    if *left == 0 {
                        self.state = State::Ready;
                    }
                }
                (PING, _) => {
                    put_client_frame(&mut self.output, PONG, payload);
                    self.flush()?;
                }
                (CLOSE, _) => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
            at += end;
        }
        Ok(at)
    }
}

fn is_joined(message: &[u8]) -> bool {
    memmem::find(message, Dialect::JOINED.as_bytes()).is_some()
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected
    )
}
