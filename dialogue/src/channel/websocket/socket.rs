//! The bytes below a WebSocket: a TCP socket that anybody may write to, or whatever else the application serves on.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{
    rt::TokioIo,
    server::conn::auto::upgrade::{Parts, downcast},
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use crate::{
    hub::{Cut, Direct, Outbox, Progress},
    tcp::TcpConnection,
};

/// See the [module](self).
pub(super) struct Socket {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// What came with the handshake.
    pub(super) early: BytesMut,
}

pub(super) enum Reader {
    Tcp(OwnedReadHalf),
    Other(ReadHalf<TokioIo<Upgraded>>),
}

pub(super) enum Writer {
    Tcp(Arc<OwnedWriteHalf>),
    Other { half: WriteHalf<TokioIo<Upgraded>>, taken: Vec<Bytes>, partial: bool },
}

thread_local! {
    /// Where a thread reads to, whatever connection it works on.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// Bytes read at once.
const READ: usize = 64 << 10;
/// Bytes taken from an outbox at once.
const TAKE: usize = 64 << 10;

impl Socket {
    pub(super) async fn open(upgrade: OnUpgrade) -> hyper::Result<Self> {
        // Ours, or the stream of an application that serves by itself.
        let upgraded = match downcast::<TokioIo<TcpConnection>>(upgrade.await?) {
            Ok(Parts { io, read_buf, .. }) => return Ok(Self::tcp(io.into_inner().into_inner(), &read_buf)),
            Err(upgraded) => upgraded,
        };
        Ok(match downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(Parts { io, read_buf, .. }) => Self::tcp(io.into_inner(), &read_buf),
            Err(upgraded) => {
                let (reader, half) = tokio::io::split(TokioIo::new(upgraded));
                let writer = Writer::Other { half, taken: Vec::new(), partial: false };
                Socket { reader: Reader::Other(reader), writer, early: BytesMut::new() }
            }
        })
    }

    fn tcp(stream: TcpStream, early: &[u8]) -> Self {
        // Batches are ours to make. A socket that refuses the option works without.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Socket {
            reader: Reader::Tcp(reader),
            writer: Writer::Tcp(Arc::new(writer)),
            // A copy, since hyper's whole buffer would live as long as a part of it.
            early: BytesMut::from(early),
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
    ///
    /// `buffer` grows only by what came: who waits holds no memory for it.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut read = ReadBuf::new(scratch);
                ready!(match self {
                    Reader::Tcp(half) => Pin::new(half).poll_read(cx, &mut read),
                    Reader::Other(half) => Pin::new(half).poll_read(cx, &mut read),
                })?;
                buffer.extend_from_slice(read.filled());
                Poll::Ready(Ok(read.filled().len()))
            })
        })
        .await
    }
}

impl Writer {
    /// Waits until the outbox has something that this writer is to write, and writes some of it. Cancel safe.
    pub(super) async fn relieve(&mut self, outbox: &Outbox) -> Relief {
        match self {
            Writer::Tcp(stream) => {
                poll_fn(|cx| outbox.poll_trouble(cx)).await;
                loop {
                    match outbox.flush() {
                        Progress::Idle => return Relief::Done,
                        Progress::Cut(cut) => return Relief::Cut(cut),
                        Progress::Blocked => {}
                    }
                    // The socket of a client that never reads never becomes writable: the cut has to be seen meanwhile.
                    tokio::select! {
                        cut = poll_fn(|cx| outbox.poll_cut(cx)) => return Relief::Cut(cut),
                        writable = stream.writable() => if writable.is_err() {
                            return Relief::Cut(Cut::Closed);
                        },
                    }
                }
            }
            Writer::Other { half, taken, partial } => {
                if taken.is_empty() {
                    let take = poll_fn(|cx| outbox.poll_take(cx, TAKE, taken)).await;
                    if let Err(cut) = take {
                        return Relief::Cut(cut);
                    }
                    // The end first, since it is taken from there.
                    taken.reverse();
                }
                let writing = async {
                    if let Some(next) = taken.last_mut() {
                        half.write_buf(next).await?;
                        *partial = taken.pop_if(|next| next.is_empty()).is_none();
                    }
                    if taken.is_empty() { half.flush().await } else { Ok(()) }
                };
                tokio::select! {
                    biased;
                    written = writing => match written {
                        Ok(()) => Relief::Done,
                        Err(_) => Relief::Cut(Cut::Closed),
                    },
                    cut = poll_fn(|cx| outbox.poll_cut(cx)) => Relief::Cut(cut),
                }
            }
        }
    }

    /// Drops what was taken of the outbox and isn't begun with.
    pub(super) fn give_up(&mut self) {
        if let Writer::Other { taken, partial, .. } = self {
            // The first one is the last.
            taken.drain(..taken.len().saturating_sub(usize::from(*partial)));
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
                            match OwnedWriteHalf::try_write(stream, bytes) {
                                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                                Err(error) => return Err(error),
                            }
                        }
                    }
                }
                Writer::Other { half, taken, .. } => {
                    // What was taken goes first: a frame that is written in part, and what followed it.
                    while let Some(mut next) = taken.pop() {
                        half.write_all_buf(&mut next).await?;
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
                let _ = socket2::SockRef::from((**stream).as_ref()).shutdown(how);
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

impl Direct for Arc<OwnedWriteHalf> {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => OwnedWriteHalf::try_write(self, one),
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use hyper::service::service_fn;
    use tokio::{
        io::{AsyncReadExt, DuplexStream, duplex},
        sync::oneshot,
    };

    use super::*;

    /// A socket over something that is no TCP, and its other end, with the bytes of the handshake to be read first.
    async fn over_a_pipe() -> (Socket, DuplexStream) {
        let (ours, mut theirs) = duplex(1 << 10);
        let (sender, upgraded) = oneshot::channel();
        let sender = std::sync::Mutex::new(Some(sender));
        let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            let sent = sender.lock().unwrap().take().unwrap().send(hyper::upgrade::on(&mut request));
            assert!(sent.is_ok());
            let switching = http::Response::builder().status(101).header("upgrade", "x").body(Body::empty());
            async { Ok::<_, Infallible>(switching.unwrap()) }
        });
        let http = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
        tokio::spawn(async move {
            http.serve_connection_with_upgrades(TokioIo::new(ours), service).await.unwrap();
        });
        theirs.write_all(b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await.unwrap();
        (Socket::open(upgraded.await.unwrap()).await.unwrap(), theirs)
    }

    #[tokio::test]
    async fn all_that_was_taken_comes_before_the_last_words() {
        let (mut socket, mut client) = over_a_pipe().await;
        let Writer::Other { taken, .. } = &mut socket.writer else { panic!("a pipe is no TCP") };
        // The first one last, as it is once it was taken.
        taken.extend([Bytes::from_static(b"<reconnect>"), Bytes::from_static(b"<event>")]);
        let writing = async {
            socket.writer.finish(None, b"<close>", Duration::from_secs(60)).await;
            socket.writer.end().await;
        };
        let mut read = String::new();
        let (_, done) = tokio::join!(writing, client.read_to_string(&mut read));
        done.unwrap();
        assert!(read.ends_with("\r\n\r\n<event><reconnect><close>"), "{read}");
    }
}
