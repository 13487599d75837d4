//! The bytes below a WebSocket: a TCP socket that anybody may write to, or whatever else the application serves on.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{
    rt::TokioIo,
    server::conn::auto::upgrade::{Parts, downcast},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
    time::timeout,
};

use crate::hub::{Cut, Direct, Outbox, Progress};

/// See the [module](self).
pub(super) struct Socket {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// What came with the handshake.
    pub(super) early: Bytes,
}

pub(super) enum Reader {
    Tcp(Arc<TcpStream>),
    Other(ReadHalf<TokioIo<Upgraded>>),
}

pub(super) enum Writer {
    Tcp(Arc<TcpStream>),
    Other { half: WriteHalf<TokioIo<Upgraded>>, taken: Vec<Bytes> },
}

/// Bytes that are made room for when there is something to read; between reads a connection holds no buffer.
const READ: usize = 16 << 10;
/// Bytes taken from an outbox at once.
const TAKE: usize = 64 << 10;

impl Socket {
    pub(super) async fn open(upgrade: OnUpgrade) -> hyper::Result<Self> {
        match downcast::<TokioIo<TcpStream>>(upgrade.await?) {
            Ok(Parts { io, read_buf, .. }) => {
                let stream = Arc::new(io.into_inner());
                // Batches are ours to make. A socket that refuses the option works without.
                let _ = stream.set_nodelay(true);
                Ok(Socket {
                    reader: Reader::Tcp(Arc::clone(&stream)),
                    writer: Writer::Tcp(stream),
                    early: read_buf,
                })
            }
            Err(upgraded) => {
                let (reader, half) = tokio::io::split(TokioIo::new(upgraded));
                let writer = Writer::Other { half, taken: Vec::new() };
                Ok(Socket { reader: Reader::Other(reader), writer, early: Bytes::new() })
            }
        }
    }

    /// What hub code may write to, if the connection is a plain socket.
    pub(super) fn direct(&self) -> Option<Box<dyn Direct>> {
        match &self.writer {
            Writer::Tcp(stream) => Some(Box::new(Arc::clone(stream))),
            Writer::Other { .. } => None,
        }
    }
}

impl Reader {
    /// Reads some bytes; 0 is the end. Cancel safe.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Reader::Tcp(stream) => loop {
                stream.readable().await?;
                buffer.reserve(READ);
                match stream.try_read_buf(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other,
                }
            },
            Reader::Other(half) => {
                buffer.reserve(READ);
                half.read_buf(buffer).await
            }
        }
    }
}

impl Writer {
    /// Waits until the outbox has something that this writer is to write, and writes some of it. Cancel safe.
    pub(super) async fn relieve(&mut self, outbox: &Outbox) -> Relief {
        match self {
            Writer::Tcp(stream) => {
                std::future::poll_fn(|cx| outbox.poll_trouble(cx)).await;
                loop {
                    match outbox.flush() {
                        Progress::Idle => return Relief::Done,
                        Progress::Cut(cut) => return Relief::Cut(cut),
                        Progress::Blocked => {}
                    }
                    if stream.writable().await.is_err() {
                        return Relief::Cut(Cut::Closed);
                    }
                }
            }
            Writer::Other { half, taken } => {
                if taken.is_empty() {
                    let take = std::future::poll_fn(|cx| outbox.poll_take(cx, TAKE, taken)).await;
                    if let Err(cut) = take {
                        return Relief::Cut(cut);
                    }
                    // The end first, since it is taken from there.
                    taken.reverse();
                }
                let done = match taken.last_mut() {
                    Some(next) => half.write_buf(next).await.is_ok(),
                    None => true,
                };
                taken.pop_if(|next| next.is_empty());
                if done && taken.is_empty() {
                    return if half.flush().await.is_ok() { Relief::Done } else { Relief::Cut(Cut::Closed) };
                }
                if done { Relief::Done } else { Relief::Cut(Cut::Closed) }
            }
        }
    }

    /// Writes the last bytes of a connection, for at most `patience`.
    pub(super) async fn finish(&mut self, rest: Option<Bytes>, last: &[u8], patience: Duration) {
        // Whoever doesn't take it in that time doesn't get it.
        let _ = timeout(patience, async {
            match self {
                Writer::Tcp(stream) => {
                    for mut bytes in [rest.as_deref().unwrap_or_default(), last] {
                        while !bytes.is_empty() {
                            stream.writable().await?;
                            match TcpStream::try_write(stream, bytes) {
                                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                                Err(error) => return Err(error),
                            }
                        }
                    }
                }
                Writer::Other { half, taken } => {
                    // A frame that is written in part goes first.
                    if let Some(mut partial) = taken.pop() {
                        half.write_all_buf(&mut partial).await?;
                    }
                    half.write_all(rest.as_deref().unwrap_or_default()).await?;
                    half.write_all(last).await?;
                    half.flush().await?;
                }
            }
            io::Result::Ok(())
        })
        .await;
    }

    /// Says that nothing more comes, so that the client need not wait for it.
    pub(super) async fn end(&mut self) {
        self.shut(Shutdown::Write).await;
    }

    /// Ends the connection, though somebody may still hold its outbox.
    pub(super) async fn close(&mut self) {
        self.shut(Shutdown::Both).await;
    }

    async fn shut(&mut self, how: Shutdown) {
        match self {
            Writer::Tcp(stream) => {
                // It may be closed already.
                let _ = socket2::SockRef::from(&**stream).shutdown(how);
            }
            Writer::Other { half, .. } => {
                let _ = timeout(Duration::from_secs(1), half.shutdown()).await;
            }
        }
    }
}

/// What [`Writer::relieve`] came to.
#[derive(Debug)]
pub(super) enum Relief {
    /// Something was written, or nothing was to be.
    Done,
    /// Nothing more is to be written.
    Cut(Cut),
}

impl Direct for Arc<TcpStream> {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => TcpStream::try_write(self, one),
            slices => self.try_write_vectored(slices),
        }
    }
}

/// Reads on for a moment after the close frame, so that it arrives: a socket that is closed with bytes unread is reset.
pub(super) async fn linger(reader: &mut Reader, patience: Duration) {
    let _ = timeout(patience, async {
        let mut sink = BytesMut::new();
        while let Ok(1..) = reader.read(&mut sink).await {
            sink.clear();
        }
    })
    .await;
}
