//! A TCP connection that HTTP is served on, with the timeouts that protect against slow and lost peers.
//!
//! `server::accept` wraps each accepted connection in a [`TcpConnection`] and polls the deadlines of its
//! [`ConnectionActivity`]. A peer that vanished is detected by the kernel: see [`detect_lost_peer`].

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

use crate::limits::ConnectionPermit;

/// A TCP stream that reports its reads and writes to a [`ConnectionActivity`].
#[derive(Debug)]
pub(crate) struct TcpConnection {
    stream: TcpStream,
    activity: Arc<ConnectionActivity>,
    /// Counts the connection for its address until it is closed, or is counted as a session.
    _permit: Option<ConnectionPermit>,
}

/// The requests, reads and writes of a connection, for timeouts that neither the HTTP implementation nor the kernel
/// has.
#[derive(Debug)]
pub(crate) struct ConnectionActivity(Mutex<ActivityState>);

#[derive(Debug)]
struct ActivityState {
    opened: Instant,
    /// The HTTP version of the first request.
    version: Option<Version>,
    /// The number of requests that are being answered, and of HTTP/2 streams that were upgraded.
    active: usize,
    /// The end of the last request, or the time at which the peer last accepted bytes of its response.
    idle_since: Instant,
    /// The arrival of the first byte of a request whose head is incomplete; HTTP/1 only.
    head_since: Option<Instant>,
    /// The first write since which the peer has accepted nothing.
    blocked_since: Option<Instant>,
    /// Set once a response is an event stream.
    is_streaming: bool,
}

/// A request that is being answered.
#[derive(Debug)]
#[must_use = "the request ends when this is dropped"]
pub(crate) struct ActiveRequest(Arc<ConnectionActivity>);

/// A request extension: the connection took one of the last file descriptors. The request is answered and the
/// connection closed; it can't become a long-lived one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScarceDescriptors;

/// The timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionTimeouts {
    /// The maximum time in which a request's head arrives.
    pub(crate) head: Duration,
    /// The maximum time between two requests.
    pub(crate) idle: Duration,
    /// The maximum time for which the peer accepts no bytes of a response.
    pub(crate) response: Duration,
    /// The maximum time for which the peer accepts no bytes of an event stream.
    pub(crate) stream: Duration,
}

/// The state of a connection's timeouts at a time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DeadlineStatus {
    /// None has elapsed, nor will any before this time.
    Pending(Instant),
    /// The connection has had no request for the idle timeout.
    Idle,
    /// The peer is late with a request's head, or in accepting a response.
    Elapsed,
}

impl TcpConnection {
    /// Wraps an accepted connection. The kernel closes it if nothing is received from the peer for
    /// `unreachable_timeout`; a reachable peer that accepts no bytes has at least `stream_timeout`.
    pub(crate) fn new(
        stream: TcpStream,
        unreachable_timeout: Duration,
        stream_timeout: Duration,
        permit: Option<ConnectionPermit>,
    ) -> (Self, Arc<ConnectionActivity>) {
        // The options are optional: a socket that refuses one works without.
        let _ = stream.set_nodelay(true);
        let _ = detect_lost_peer(&stream, unreachable_timeout, stream_timeout);
        let now = Instant::now();
        let activity = Arc::new(ConnectionActivity(Mutex::new(ActivityState {
            opened: now,
            version: None,
            active: 0,
            idle_since: now,
            head_since: None,
            blocked_since: None,
            is_streaming: false,
        })));
        (TcpConnection { stream, activity: Arc::clone(&activity), _permit: permit }, activity)
    }

    pub(crate) fn into_inner(self) -> TcpStream {
        self.stream
    }
}

/// Makes the kernel close a connection whose peer acknowledges nothing for about `unreachable_timeout`: by keep-alive
/// probes while nothing is sent (RFC 9293, section 3.8.4), otherwise by the user timeout (RFC 5482).
///
/// The user timeout also applies to a peer that acknowledges but keeps its window closed (Linux 5.11 and later). It is
/// at least 10 s longer than `stream_timeout`, so that the server closes such a connection first, with a reason.
fn detect_lost_peer(
    stream: &TcpStream,
    unreachable_timeout: Duration,
    stream_timeout: Duration,
) -> io::Result<()> {
    const MARGIN: Duration = Duration::from_secs(10);
    const PROBES: u32 = 3;
    // Half of the time before the first probe, the other half for the probes. The kernel counts whole seconds.
    let second = Duration::from_secs(1);
    let probes = TcpKeepalive::new().with_time((unreachable_timeout / 2).max(second));
    #[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "redox", target_os = "solaris")))]
    let probes = probes.with_interval((unreachable_timeout / (2 * PROBES)).max(second));
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
    socket.set_tcp_user_timeout(Some(unreachable_timeout.max(stream_timeout.saturating_add(MARGIN))))?;
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    let _ = (stream_timeout, MARGIN);
    Ok(())
}

impl ConnectionActivity {
    /// Records the beginning of a request, which ends when the returned value is dropped.
    pub(crate) fn begin(self: &Arc<Self>, version: Version) -> ActiveRequest {
        {
            let mut state = self.0.lock();
            state.version.get_or_insert(version);
            state.head_since = None;
        }
        self.keep_active()
    }

    /// Keeps the connection active, so that the idle timeout does not apply, until the value is dropped.
    pub(crate) fn keep_active(self: &Arc<Self>) -> ActiveRequest {
        self.0.lock().active += 1;
        ActiveRequest(Arc::clone(self))
    }

    /// Records that a response is an event stream, to which the longer of the two write timeouts applies.
    pub(crate) fn set_streaming(&self) {
        self.0.lock().is_streaming = true;
    }

    /// Returns whether the connection has had a request, and none is being received or answered.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.0.lock();
        state.version.is_some()
            && state.active == 0
            && state.head_since.is_none()
            && state.blocked_since.is_none()
    }

    /// Returns whether the connection has had a request.
    pub(crate) fn has_had_request(&self) -> bool {
        self.0.lock().version.is_some()
    }

    /// Checks the timeouts at `now`. The caller checks again at the time of [`DeadlineStatus::Pending`], which is not
    /// later than any deadline that starts in the meantime.
    pub(crate) fn check_deadlines(&self, timeouts: &ConnectionTimeouts, now: Instant) -> DeadlineStatus {
        let state = self.0.lock();
        let write_timeout =
            if state.is_streaming { timeouts.response.max(timeouts.stream) } else { timeouts.response };
        let blocked = state.blocked_since.map(|since| since + write_timeout);
        let head = match (state.version, state.active, state.head_since) {
            (None, _, _) => Some(state.opened + timeouts.head),
            (Some(_), 0, Some(since)) => Some(since + timeouts.head),
            _ => None,
        };
        let idle = (state.version.is_some() && state.active == 0).then(|| state.idle_since + timeouts.idle);
        let has_elapsed = |deadline: &Instant| *deadline <= now;
        if blocked.as_ref().is_some_and(has_elapsed) || head.as_ref().is_some_and(has_elapsed) {
            return DeadlineStatus::Elapsed;
        }
        if idle.as_ref().is_some_and(has_elapsed) {
            return DeadlineStatus::Idle;
        }
        let shortest = timeouts.head.min(timeouts.idle).min(timeouts.response).max(Duration::from_millis(10));
        let next = [blocked, head, idle].into_iter().flatten().min();
        DeadlineStatus::Pending(next.map_or(now + shortest, |next| next.min(now + shortest)))
    }

    fn record_read(&self, bytes: usize) {
        let mut state = self.0.lock();
        // In HTTP/2, frames without a request are allowed.
        if bytes > 0 && state.active == 0 && state.version.is_some_and(|version| version < Version::HTTP_2) {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    fn record_write(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.0.lock();
        match written {
            Poll::Pending => drop(state.blocked_since.get_or_insert_with(Instant::now)),
            Poll::Ready(_) => {
                state.blocked_since = None;
                // The rest of a response; in HTTP/2 it may be a ping of an idle connection.
                if state.active == 0 && state.version.is_some_and(|version| version < Version::HTTP_2) {
                    state.idle_since = Instant::now();
                }
            }
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.active -= 1;
        if state.active == 0 {
            state.idle_since = Instant::now();
        }
    }
}

impl AsyncRead for TcpConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.activity.record_read(buffer.filled().len().saturating_sub(before));
        read
    }
}

impl AsyncWrite for TcpConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.activity.record_write(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.activity.record_write(&written);
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
    const TIMEOUTS: ConnectionTimeouts = ConnectionTimeouts {
        head: SECOND.saturating_mul(10),
        idle: SECOND.saturating_mul(75),
        response: SECOND.saturating_mul(30),
        stream: SECOND.saturating_mul(60),
    };

    async fn accepted() -> (TcpConnection, Arc<ConnectionActivity>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, activity) =
            TcpConnection::new(listener.accept().await.unwrap().0, SECOND * 60, SECOND * 60, None);
        (tcp, activity, client)
    }

    /// Checks the deadlines after `seconds`.
    async fn status_after(activity: &ConnectionActivity, seconds: u32) -> DeadlineStatus {
        advance(SECOND * seconds).await;
        match activity.check_deadlines(&TIMEOUTS, Instant::now()) {
            DeadlineStatus::Pending(then) => {
                assert!(then > Instant::now() && then <= Instant::now() + SECOND * 10);
                DeadlineStatus::Pending(Instant::now())
            }
            status => status,
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_detects_a_lost_peer() {
        let (tcp, _, _client) = accepted().await;
        let socket = SockRef::from(&tcp.stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SECOND * 30);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), SECOND * 10);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(SECOND * 70));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_has_the_head_timeout_and_the_next_the_idle_timeout() {
        let (mut tcp, activity, mut client) = accepted().await;
        assert!(matches!(status_after(&activity, 9).await, DeadlineStatus::Pending(_)));
        assert_eq!(status_after(&activity, 1).await, DeadlineStatus::Elapsed);
        let request = activity.begin(Version::HTTP_11);
        assert!(
            matches!(status_after(&activity, 1_000).await, DeadlineStatus::Pending(_)) && !activity.is_idle()
        );
        drop(request);
        assert!(
            matches!(status_after(&activity, 74).await, DeadlineStatus::Pending(_)) && activity.is_idle()
        );
        assert_eq!(status_after(&activity, 1).await, DeadlineStatus::Idle);
        // The head of the next request begins and is never completed.
        drop(activity.begin(Version::HTTP_11));
        client.write_all(b"G").await.unwrap();
        tcp.read_exact(&mut [0]).await.unwrap();
        assert!(
            matches!(status_after(&activity, 9).await, DeadlineStatus::Pending(_)) && !activity.is_idle()
        );
        assert_eq!(status_after(&activity, 1).await, DeadlineStatus::Elapsed);
    }

    #[tokio::test(start_paused = true)]
    async fn http2_frames_between_two_requests_do_not_count_as_requests() {
        let (mut tcp, activity, mut client) = accepted().await;
        drop(activity.begin(Version::HTTP_2));
        advance(SECOND * 70).await;
        client.write_all(b"ping").await.unwrap();
        tcp.read_exact(&mut [0; 4]).await.unwrap();
        tcp.write_all(b"pong").await.unwrap();
        assert_eq!(status_after(&activity, 5).await, DeadlineStatus::Idle);
        let socket = activity.keep_active();
        assert!(matches!(status_after(&activity, 1_000).await, DeadlineStatus::Pending(_)));
        drop(socket);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_accepts_no_bytes_is_late() {
        let (mut tcp, activity, mut client) = accepted().await;
        let _request = activity.begin(Version::HTTP_11);
        let block = vec![0; 1 << 20];
        while tokio::time::timeout(SECOND, tcp.write(&block)).await.is_ok() {}
        assert!(matches!(status_after(&activity, 28).await, DeadlineStatus::Pending(_)));
        activity.set_streaming();
        assert!(matches!(status_after(&activity, 30).await, DeadlineStatus::Pending(_)));
        assert_eq!(status_after(&activity, 1).await, DeadlineStatus::Elapsed);
        // The timeout starts anew with each byte that is accepted.
        let mut taken = vec![0; 1 << 20];
        while tokio::time::timeout(SECOND, tcp.write(&block)).await.is_err() {
            assert!(client.read(&mut taken).await.unwrap() > 0);
        }
        while tokio::time::timeout(SECOND, tcp.write(&block)).await.is_ok() {}
        assert!(matches!(status_after(&activity, 58).await, DeadlineStatus::Pending(_)));
        assert_eq!(status_after(&activity, 1).await, DeadlineStatus::Elapsed);
    }
}
