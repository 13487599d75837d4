//! The byte stream below a WebSocket: a TCP socket, to which the threads of rooms may write directly, or another
//! transport on which the application serves.

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
    channel::tcp::TcpConnection,
    live::{DirectWriter, FlushStatus, Outbox, OutboxCloseReason},
};

/// An upgraded connection, split into reader and writer.
pub(super) struct UpgradedSocket {
    pub(super) reader: SocketReader,
    pub(super) writer: SocketWriter,
    /// Bytes that were received behind the handshake.
    pub(super) leftover: BytesMut,
}

pub(super) enum SocketReader {
    Tcp(OwnedReadHalf),
    Other(ReadHalf<TokioIo<Upgraded>>),
}

pub(super) enum SocketWriter {
    Tcp(Arc<OwnedWriteHalf>),
    Other { half: WriteHalf<TokioIo<Upgraded>>, taken: Vec<Bytes>, is_partial: bool },
}

thread_local! {
    /// The read buffer of a thread, which all of its connections share, so that an idle connection needs none.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; MAX_READ_BYTES].into());
}

/// The maximum bytes of one read.
const MAX_READ_BYTES: usize = 64 << 10;
/// The maximum bytes taken from an outbox at once.
const MAX_TAKE_BYTES: usize = 64 << 10;

impl UpgradedSocket {
    pub(super) async fn open(upgrade: OnUpgrade) -> hyper::Result<Self> {
        // The stream type of `Server::serve`, or that of an application with a server of its own.
        let upgraded = match downcast::<TokioIo<TcpConnection>>(upgrade.await?) {
            Ok(Parts { io, read_buf, .. }) => return Ok(Self::tcp(io.into_inner().into_inner(), &read_buf)),
            Err(upgraded) => upgraded,
        };
        Ok(match downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(Parts { io, read_buf, .. }) => Self::tcp(io.into_inner(), &read_buf),
            Err(upgraded) => {
                let (reader, half) = tokio::io::split(TokioIo::new(upgraded));
                let writer = SocketWriter::Other { half, taken: Vec::new(), is_partial: false };
                UpgradedSocket { reader: SocketReader::Other(reader), writer, leftover: BytesMut::new() }
            }
        })
    }

    fn tcp(stream: TcpStream, leftover: &[u8]) -> Self {
        // Without Nagle's algorithm, as the outbox batches writes itself. A failure is harmless.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        UpgradedSocket {
            reader: SocketReader::Tcp(reader),
            writer: SocketWriter::Tcp(Arc::new(writer)),
            // A copy, since a slice would keep hyper's whole buffer in memory.
            leftover: BytesMut::from(leftover),
        }
    }

    /// Returns the handle through which a room's thread may write directly, if the connection is a plain TCP socket.
    pub(super) fn direct(&self) -> Option<Box<dyn DirectWriter>> {
        match &self.writer {
            SocketWriter::Tcp(stream) => Some(Box::new(Arc::clone(stream))),
            SocketWriter::Other { .. } => None,
        }
    }
}

impl SocketReader {
    /// Appends received bytes to `buffer` and returns their number; 0 is the end of the stream. Cancel safe.
    ///
    /// `buffer` grows only by the received bytes: a waiting connection holds no memory for them.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|cx| {
            READ_BUFFER.with_borrow_mut(|buffer_space| {
                let mut read = ReadBuf::new(buffer_space);
                ready!(match self {
                    SocketReader::Tcp(half) => Pin::new(half).poll_read(cx, &mut read),
                    SocketReader::Other(half) => Pin::new(half).poll_read(cx, &mut read),
                })?;
                buffer.extend_from_slice(read.filled());
                Poll::Ready(Ok(read.filled().len()))
            })
        })
        .await
    }
}

impl SocketWriter {
    /// Waits until the outbox has bytes for this writer, and writes some of them. Cancel safe.
    pub(super) async fn write_some(&mut self, outbox: &Outbox) -> WriteOutcome {
        match self {
            SocketWriter::Tcp(stream) => {
                poll_fn(|cx| outbox.poll_writable_work(cx)).await;
                loop {
                    match outbox.flush() {
                        FlushStatus::Idle => return WriteOutcome::Done,
                        FlushStatus::Closed(reason) => return WriteOutcome::Closed(reason),
                        FlushStatus::Blocked => {}
                    }
                    // Wait for a cut as well: the socket of a client that never reads never becomes writable.
                    tokio::select! {
                        reason = poll_fn(|cx| outbox.poll_closed(cx)) => return WriteOutcome::Closed(reason),
                        writable = stream.writable() => if writable.is_err() {
                            return WriteOutcome::Closed(OutboxCloseReason::Disconnected);
                        },
                    }
                }
            }
            SocketWriter::Other { half, taken, is_partial } => {
                if taken.is_empty() {
                    let take = poll_fn(|cx| outbox.poll_take(cx, MAX_TAKE_BYTES, taken)).await;
                    if let Err(reason) = take {
                        return WriteOutcome::Closed(reason);
                    }
                    // Reversed, as chunks are taken from the end.
                    taken.reverse();
                }
                let writing = async {
                    if let Some(next) = taken.last_mut() {
                        half.write_buf(next).await?;
                        *is_partial = taken.pop_if(|next| next.is_empty()).is_none();
                    }
                    if taken.is_empty() { half.flush().await } else { Ok(()) }
                };
                tokio::select! {
                    biased;
                    written = writing => match written {
                        Ok(()) => WriteOutcome::Done,
                        Err(_) => WriteOutcome::Closed(OutboxCloseReason::Disconnected),
                    },
                    reason = poll_fn(|cx| outbox.poll_closed(cx)) => WriteOutcome::Closed(reason),
                }
            }
        }
    }

    /// Discards the chunks that were taken from the outbox, except one that is partly written.
    pub(super) fn discard_taken(&mut self) {
        if let SocketWriter::Other { taken, is_partial, .. } = self {
            // The partly written chunk is the last element.
            taken.drain(..taken.len().saturating_sub(usize::from(*is_partial)));
        }
    }

    /// Writes the last bytes of a connection. Gives up after `limit`.
    pub(super) async fn write_last(&mut self, rest: Option<Bytes>, last: &[u8], limit: Duration) {
        let _ = timeout(limit, async {
            match self {
                SocketWriter::Tcp(stream) => {
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
                SocketWriter::Other { half, taken, .. } => {
                    // The taken chunks come first: they may begin with the rest of a partly written frame.
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

    /// Shuts down the write direction (TCP FIN), so that the client doesn't wait for more.
    pub(super) async fn shutdown_write(&mut self) {
        self.shutdown(Shutdown::Write).await;
    }

    /// Closes the connection, even if the outbox still holds its socket.
    pub(super) async fn close(&mut self) {
        self.shutdown(Shutdown::Both).await;
    }

    async fn shutdown(&mut self, how: Shutdown) {
        match self {
            SocketWriter::Tcp(stream) => {
                // It fails if the connection is closed already.
                let _ = socket2::SockRef::from((**stream).as_ref()).shutdown(how);
            }
            SocketWriter::Other { half, .. } => {
                let _ = timeout(Duration::from_secs(1), half.shutdown()).await;
            }
        }
    }
}

/// The outcome of [`SocketWriter::write_some`].
#[derive(Debug)]
pub(super) enum WriteOutcome {
    /// Bytes were written, or there were none.
    Done,
    /// The outbox is reason, or the socket failed: nothing more can be written.
    Closed(OutboxCloseReason),
}

impl DirectWriter for Arc<OwnedWriteHalf> {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => OwnedWriteHalf::try_write(self, one),
            slices => self.try_write_vectored(slices),
        }
    }
}

/// Reads and discards for at most `limit` after the close frame, until the client closes. A socket that is closed with
/// unread bytes is reset, and the client could lose the close frame (RFC 6455, section 7.1.1).
pub(super) async fn linger(reader: &mut SocketReader, limit: Duration) {
    let _ = timeout(limit, async {
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

    /// Returns a socket over a transport other than TCP, and its client end, from which the handshake's response is not
    /// read yet.
    async fn over_duplex() -> (UpgradedSocket, DuplexStream) {
        let (server, mut client) = duplex(1 << 10);
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
            http.serve_connection_with_upgrades(TokioIo::new(server), service).await.unwrap();
        });
        client.write_all(b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await.unwrap();
        (UpgradedSocket::open(upgraded.await.unwrap()).await.unwrap(), client)
    }

    #[tokio::test]
    async fn taken_chunks_are_written_before_the_last_bytes() {
        let (mut socket, mut client) = over_duplex().await;
        let SocketWriter::Other { taken, .. } = &mut socket.writer else { panic!("not a TCP socket") };
        // In reverse order, as `write_some` keeps them.
        taken.extend([Bytes::from_static(b"<reconnect>"), Bytes::from_static(b"<event>")]);
        let writing = async {
            socket.writer.write_last(None, b"<close>", Duration::from_secs(60)).await;
            socket.writer.shutdown_write().await;
        };
        let mut read = String::new();
        let (_, done) = tokio::join!(writing, client.read_to_string(&mut read));
        done.unwrap();
        assert!(read.ends_with("\r\n\r\n<event><reconnect><close>"), "{read}");
    }
}
