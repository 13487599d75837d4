//! A TCP connection that HTTP is served on, and what is known of its traffic.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Version;
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use crate::gate::Visit;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Tcp {
    stream: TcpStream,
    traffic: Arc<Traffic>,
    /// Counts the connection until it is closed, or is counted as a socket.
    _place: Option<Visit>,
}

/// The traffic of a connection, for deadlines that neither HTTP nor the kernel has.
#[derive(Debug)]
pub(crate) struct Traffic(Mutex<State>);

#[derive(Debug)]
struct State {
    opened: Instant,
    /// Of the first request.
    version: Option<Version>,
    /// Requests that are being answered, and streams of HTTP/2 that became something else.
    active: usize,
    /// The end of the last of them, or the time at which bytes of its answer were last taken.
    idle_since: Instant,
    /// The arrival of the first byte of a request whose head isn't whole; HTTP/1 only.
    head_since: Option<Instant>,
    /// The first write since which the peer has taken nothing.
    blocked_since: Option<Instant>,
    /// An event stream was answered.
    streams: bool,
}

/// A request that is being answered.
#[derive(Debug)]
#[must_use = "the request is over when this is dropped"]
pub(crate) struct Active(Arc<Traffic>);

/// A request's extension where its connection took one of the last descriptors: it is answered and over, and opens
/// nothing that stays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scarce;

/// The deadlines of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The time of a request's head.
    pub(crate) head: Duration,
    /// The time between two requests.
    pub(crate) idle: Duration,
    /// The time in which the peer takes nothing of an answer.
    pub(crate) answer: Duration,
    /// The time in which the peer takes nothing of an event stream.
    pub(crate) stream: Duration,
}

/// The outcome of a connection's deadlines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing until then.
    Later(Instant),
    /// The connection has had no request for long.
    Idle,
    /// The peer is late with a request, or with what it is to take.
    Late,
}

impl Tcp {
    /// Takes over an accepted connection, whose peer is known to be gone if nothing is heard of it for `unreachable`; one
    /// that is there, and takes nothing of what is sent, has at least `patience`.
    pub(crate) fn new(
        stream: TcpStream,
        unreachable: Duration,
        patience: Duration,
        place: Option<Visit>,
    ) -> (Self, Arc<Traffic>) {
        // A socket that refuses an option works without.
        let _ = stream.set_nodelay(true);
        let _ = notice_loss(&stream, unreachable, patience);
        let now = Instant::now();
        let traffic = Arc::new(Traffic(Mutex::new(State {
            opened: now,
            version: None,
            active: 0,
            idle_since: now,
            head_since: None,
            blocked_since: None,
            streams: false,
        })));
        (Tcp { stream, traffic: Arc::clone(&traffic), _place: place }, traffic)
    }

    pub(crate) fn into_inner(self) -> TcpStream {
        self.stream
    }
}

/// Has the kernel end a connection whose peer answers nothing for about `within`: while nothing is sent, by keep-alive
/// probes (RFC 9293, section 3.8.4), and else by the user timeout (RFC 5482).
///
/// The user timeout also ends a peer that answers, but whose window stays closed (Linux 5.11 and later). It is longer than
/// `patience`, so that such a peer is closed by its own rules, with a reason.
fn notice_loss(stream: &TcpStream, within: Duration, patience: Duration) -> io::Result<()> {
    const LATER: Duration = Duration::from_secs(10);
    const PROBES: u32 = 3;
    // Half of the time in silence, and the other half for the probes. Whole seconds, as the kernel counts.
    let second = Duration::from_secs(1);
    let probes = TcpKeepalive::new().with_time((within / 2).max(second));
    #[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "redox", target_os = "solaris")))]
    let probes = probes.with_interval((within / (2 * PROBES)).max(second));
    #[cfg(not(any(
        target_os = "openbsd",
        target_os = "haiku",
        target_os = "redox",
        target_os = "solaris",
        windows
    )))]
    let probes = probes.with_retries(PROBES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket.set_tcp_user_timeout(Some(within.max(patience.saturating_add(LATER))))?;
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    let _ = (patience, LATER);
    Ok(())
}

impl Traffic {
    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>, version: Version) -> Active {
        {
            let mut state = self.0.lock();
            state.version.get_or_insert(version);
            state.head_since = None;
        }
        self.hold()
    }

    /// Keeps the connection from being idle.
    pub(crate) fn hold(self: &Arc<Self>) -> Active {
        self.0.lock().active += 1;
        Active(Arc::clone(self))
    }

    /// An event stream is the answer: its reader has more time.
    pub(crate) fn streams(&self) {
        self.0.lock().streams = true;
    }

    /// Returns whether no request is being answered, nor has begun, after the first.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.0.lock();
        state.version.is_some()
            && state.active == 0
            && state.head_since.is_none()
            && state.blocked_since.is_none()
    }

    /// Returns whether there was a request.
    pub(crate) fn was_asked(&self) -> bool {
        self.0.lock().version.is_some()
    }

    /// Returns the outcome of the deadlines at `now`; it is to be asked again at the time that it names, as deadlines
    /// may have begun meanwhile.
    pub(crate) fn due(&self, patience: &Patience, now: Instant) -> Due {
        let state = self.0.lock();
        let taking = if state.streams { patience.answer.max(patience.stream) } else { patience.answer };
        let blocked = state.blocked_since.map(|since| since + taking);
        let head = match (state.version, state.active, state.head_since) {
            (None, _, _) => Some(state.opened + patience.head),
            (Some(_), 0, Some(since)) => Some(since + patience.head),
            _ => None,
        };
        let idle = (state.version.is_some() && state.active == 0).then(|| state.idle_since + patience.idle);
        let past = |deadline: &Instant| *deadline <= now;
        if blocked.as_ref().is_some_and(past) || head.as_ref().is_some_and(past) {
            return Due::Late;
        }
        if idle.as_ref().is_some_and(past) {
            return Due::Idle;
        }
        let shortest = patience.head.min(patience.idle).min(patience.answer).max(Duration::from_millis(10));
        let next = [blocked, head, idle].into_iter().flatten().min();
        Due::Later(next.map_or(now + shortest, |next| next.min(now + shortest)))
    }

    fn read(&self, bytes: usize) {
        let mut state = self.0.lock();
        // In HTTP/2 any frame may come while there is no request.
        if bytes > 0 && state.active == 0 && state.version.is_some_and(|version| version < Version::HTTP_2) {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.0.lock();
        match written {
            Poll::Pending => drop(state.blocked_since.get_or_insert_with(Instant::now)),
            Poll::Ready(_) => {
                state.blocked_since = None;
                // The rest of an answer; in HTTP/2 it may be the ping of an idle connection.
                if state.active == 0 && state.version.is_some_and(|version| version < Version::HTTP_2) {
                    state.idle_since = Instant::now();
                }
            }
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.active -= 1;
        if state.active == 0 {
            state.idle_since = Instant::now();
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.traffic.read(buffer.filled().len().saturating_sub(before));
        read
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.traffic.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.traffic.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::advance,
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Patience = Patience {
        head: SECOND.saturating_mul(10),
        idle: SECOND.saturating_mul(75),
        answer: SECOND.saturating_mul(30),
        stream: SECOND.saturating_mul(60),
    };

    async fn accepted() -> (Tcp, Arc<Traffic>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, traffic) = Tcp::new(listener.accept().await.unwrap().0, SECOND * 60, SECOND * 60, None);
        (tcp, traffic, client)
    }

    /// Returns the outcome after so many seconds.
    async fn due_after(traffic: &Traffic, seconds: u32) -> Due {
        advance(SECOND * seconds).await;
        match traffic.due(&PATIENCE, Instant::now()) {
            Due::Later(then) => {
                assert!(then > Instant::now() && then <= Instant::now() + SECOND * 10);
                Due::Later(Instant::now())
            }
            due => due,
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_notices_a_peer_that_is_gone() {
        let (tcp, _, _client) = accepted().await;
        let socket = SockRef::from(&tcp.stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SECOND * 30);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), SECOND * 10);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(SECOND * 70));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_has_a_heads_time_and_the_next_an_idle_ones() {
        let (mut tcp, traffic, mut client) = accepted().await;
        assert!(matches!(due_after(&traffic, 9).await, Due::Later(_)));
        assert_eq!(due_after(&traffic, 1).await, Due::Late);
        let request = traffic.begin(Version::HTTP_11);
        assert!(matches!(due_after(&traffic, 1_000).await, Due::Later(_)) && !traffic.is_idle());
        drop(request);
        assert!(matches!(due_after(&traffic, 74).await, Due::Later(_)) && traffic.is_idle());
        assert_eq!(due_after(&traffic, 1).await, Due::Idle);
        // The next one begins and doesn't go on.
        drop(traffic.begin(Version::HTTP_11));
        client.write_all(b"G").await.unwrap();
        tcp.read_exact(&mut [0]).await.unwrap();
        assert!(matches!(due_after(&traffic, 9).await, Due::Later(_)) && !traffic.is_idle());
        assert_eq!(due_after(&traffic, 1).await, Due::Late);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_between_two_requests_of_http2_are_no_request() {
        let (mut tcp, traffic, mut client) = accepted().await;
        drop(traffic.begin(Version::HTTP_2));
        advance(SECOND * 70).await;
        client.write_all(b"ping").await.unwrap();
        tcp.read_exact(&mut [0; 4]).await.unwrap();
        tcp.write_all(b"pong").await.unwrap();
        assert_eq!(due_after(&traffic, 5).await, Due::Idle);
        let socket = traffic.hold();
        assert!(matches!(due_after(&traffic, 1_000).await, Due::Later(_)));
        drop(socket);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_is_taken_in_time() {
        let (mut tcp, traffic, mut client) = accepted().await;
        let _request = traffic.begin(Version::HTTP_11);
        let block = vec![0; 1 << 20];
        while tokio::time::timeout(SECOND, tcp.write(&block)).await.is_ok() {}
        assert!(matches!(due_after(&traffic, 28).await, Due::Later(_)));
        traffic.streams();
        assert!(matches!(due_after(&traffic, 30).await, Due::Later(_)));
        assert_eq!(due_after(&traffic, 1).await, Due::Late);
        // The time begins anew with each byte that is taken.
        let mut taken = vec![0; 1 << 20];
        while tokio::time::timeout(SECOND, tcp.write(&block)).await.is_err() {
            assert!(client.read(&mut taken).await.unwrap() > 0);
        }
        while tokio::time::timeout(SECOND, tcp.write(&block)).await.is_ok() {}
        assert!(matches!(due_after(&traffic, 58).await, Due::Later(_)));
        assert_eq!(due_after(&traffic, 1).await, Due::Late);
    }
}
