//! One WebSocket connection, from the frame `connected` to its close frame: reads frames, passes them to the
//! [`Session`], writes the outbox, and watches keep-alive, stalls and the expiry of the token. One task runs it.

use std::{
    future::{Future, pending, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    frame::{Decoder, IncomingMessage, put_close, put_ping, put_pong},
    socket::{UpgradedSocket, WriteOutcome, linger},
};
use crate::{
    drain::{PublishGuard, reconnect_delay_ms},
    engine::Engine,
    identity::{CLOCK_CHECK_INTERVAL, Expiry, User},
    live::{Outbox, OutboxCloseReason},
    observe::CloseReason,
    session::{FrameOutcome, NewConnection, Session, invalid},
    wire::{
        Encoding,
        frame::{self, ServerFrame},
    },
};

/// A WebSocket connection: see the [module](self).
pub(super) struct Connection {
    engine: Arc<Engine>,
    outbox: Arc<Outbox>,
    session: Session,
    /// The user whom the handshake authenticated, until the connection starts.
    user: Option<User>,
    /// `None` once the node drains: then frames are refused.
    publish_guard: Option<PublishGuard>,
    decoder: Decoder,
    socket: MonitoredSocket,
}

/// The socket of a connection with its keep-alive state, which is watched also while a frame is being handled.
struct MonitoredSocket {
    socket: UpgradedSocket,
    /// Received bytes that are not decoded yet; unallocated between frames, so that an idle connection holds no buffer.
    input: BytesMut,
    opened_at: Instant,
    /// The time at which the client last sent anything.
    last_received: Instant,
    /// The time of the next keep-alive check.
    next_check: Instant,
    /// True if a ping was sent since the client last sent anything.
    is_pinged: bool,
    /// True once the read direction has ended.
    is_read_closed: bool,
}

/// An event of the socket, from [`MonitoredSocket::next_event`].
enum ConnectionEvent {
    /// Bytes were received, or the read direction ended.
    Read,
    /// Bytes were written, or there were none.
    Written,
    /// The keep-alive check ran.
    Checked,
    End(ConnectionEnd),
}

/// The outcome of handling a frame.
enum Handled<T> {
    Done(T),
    /// The connection ended before the handling did.
    End(ConnectionEnd),
    /// The node drains, and the handling took longer than a drain waits for it.
    DrainTimeout,
}

/// The way in which a connection ends.
#[derive(Debug)]
enum ConnectionEnd {
    /// The client closes; the server answers with the same code (RFC 6455, section 5.5.1).
    Closed(u16),
    /// The socket failed or was closed.
    Lost,
    /// The server closes, with this code and reason, once the outbox is written.
    Close(u16, CloseReason),
    /// The server closes at once and discards the outbox.
    Abort(u16, String),
}

impl ConnectionEnd {
    fn of(outcome: &WriteOutcome) -> Option<Self> {
        match outcome {
            WriteOutcome::Done => None,
            WriteOutcome::Closed(OutboxCloseReason::TooSlow) => {
                Some(ConnectionEnd::Abort(4409, "reads too slowly".to_owned()))
            }
            WriteOutcome::Closed(OutboxCloseReason::Disconnected) => Some(ConnectionEnd::Lost),
            WriteOutcome::Closed(OutboxCloseReason::Unresponsive) => {
                Some(ConnectionEnd::Abort(4408, "no answer in time".to_owned()))
            }
            WriteOutcome::Closed(OutboxCloseReason::Removed(reason)) => {
                Some(ConnectionEnd::Abort(4403, reason.to_string()))
            }
        }
    }

    /// Returns the end of a connection whose token has expired. Discards the outbox and the unhandled frames of the
    /// client.
    fn expired(outbox: &Outbox) -> Self {
        outbox.revoke();
        ConnectionEnd::Abort(4401, CloseReason::Expired.reason().to_owned())
    }

    fn close_reason(&self) -> CloseReason {
        match self {
            ConnectionEnd::Closed(_) => CloseReason::Closed,
            ConnectionEnd::Lost => CloseReason::Lost,
            ConnectionEnd::Close(_, reason) => *reason,
            ConnectionEnd::Abort(4401, _) => CloseReason::Expired,
            ConnectionEnd::Abort(4403, _) => CloseReason::Removed,
            ConnectionEnd::Abort(4408, _) => CloseReason::Silent,
            ConnectionEnd::Abort(4409, _) => CloseReason::TooSlow,
            ConnectionEnd::Abort(..) => CloseReason::Malformed,
        }
    }
}

/// The timeout of writing the outbox and the close frame at the end of a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum time for which the socket is read after the close frame.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum bytes that are read ahead while a frame is being handled, so that pongs and the end of the connection
/// are noticed.
const MAX_READ_AHEAD_BYTES: usize = 64 << 10;

impl Connection {
    pub(super) fn new(
        engine: Arc<Engine>,
        mut socket: UpgradedSocket,
        user: Option<User>,
        entrance: NewConnection,
        publish_guard: PublishGuard,
    ) -> Self {
        let id = engine.connection_id();
        let outbox = Outbox::new(
            id,
            Encoding::WebSocket,
            engine.bounds.connections.max_outbox_bytes,
            socket.direct(),
            Vec::new(),
        );
        let mut session = Session::new(Arc::clone(&engine), Arc::clone(&outbox), entrance);
        session.open();
        let now = Instant::now();
        Connection {
            session,
            user,
            publish_guard: Some(publish_guard),
            decoder: Decoder::new(engine.bounds.requests.max_frame_bytes),
            socket: MonitoredSocket {
                input: std::mem::take(&mut socket.leftover),
                socket,
                opened_at: now,
                last_received: now,
                next_check: now + engine.bounds.connections.ping_interval,
                is_pinged: false,
                is_read_closed: false,
            },
            outbox,
            engine,
        }
    }

    pub(super) fn span(&self) -> tracing::Span {
        self.session.span()
    }

    pub(super) async fn run(mut self: Box<Self>) {
        let end = match Box::pin(self.identify()).await {
            Ok(()) => self.serve().await,
            Err(end) => end,
        };
        // Boxed, so that a live connection doesn't hold the memory of this future.
        Box::pin(self.finish(end)).await;
    }

    async fn finish(self: Box<Self>, end: ConnectionEnd) {
        let Connection { socket: MonitoredSocket { mut socket, .. }, mut session, outbox, .. } = *self;
        session.end(end.close_reason());
        // First, so that the connection leaves its rooms at once.
        drop(session);
        let (code, reason, rest) = match &end {
            ConnectionEnd::Lost => return socket.writer.close().await,
            ConnectionEnd::Closed(code) => (*code, "", outbox.close_and_take_partial()),
            ConnectionEnd::Abort(code, reason) => {
                socket.writer.discard_taken();
                (*code, reason.as_str(), outbox.close_and_take_partial())
            }
            ConnectionEnd::Close(code, reason) => {
                let written = async {
                    while outbox.queued_bytes() > 0
                        && !matches!(socket.writer.write_some(&outbox).await, WriteOutcome::Closed(_))
                    {
                    }
                };
                // After the timeout the client resumes the rest from the log.
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, written).await;
                (*code, reason.reason(), outbox.close_and_take_partial())
            }
        };
        let mut last = BytesMut::new();
        put_close(&mut last, code, reason);
        socket.writer.write_last(rest, &last, CLOSE_TIMEOUT).await;
        if !matches!(end, ConnectionEnd::Closed(_)) {
            socket.writer.shutdown_write().await;
            linger(&mut socket.reader, LINGER_TIMEOUT).await;
        }
        socket.writer.close().await;
    }

    /// Identifies the session as the user whom the handshake authenticated, and sends `connected`. Does nothing without
    /// a user: the client then sends `auth`.
    async fn identify(&mut self) -> Result<(), ConnectionEnd> {
        let Some(user) = self.user.take() else { return Ok(()) };
        let expires = user.expires().cloned();
        let handled = {
            let identifying = pin!(self.session.identify(user));
            handle_while_monitoring(&self.engine, &mut self.socket, &self.outbox, expires, identifying).await
        };
        match handled {
            Handled::Done(Ok(())) => {}
            Handled::Done(Err(refusal)) => {
                self.session.refuse(None, &refusal);
                return Err(ConnectionEnd::Close(4403, CloseReason::Refused));
            }
            Handled::End(end) => return Err(end),
            Handled::DrainTimeout => return Err(self.drain().await),
        }
        self.session.send_connected();
        Ok(())
    }

    async fn serve(&mut self) -> ConnectionEnd {
        if let Some(end) = self.handle_frames().await {
            return end;
        }
        let draining = self.engine.drain.started();
        tokio::pin!(draining);
        let opened_at = self.socket.opened_at;
        while !self.socket.is_read_closed {
            let left = self.token_left();
            if left.is_some_and(|left| left.is_zero()) {
                return self.token_end();
            }
            if self.engine.drain.is_on() {
                return Box::pin(self.drain()).await;
            }
            let next_look = left.map(|left| Instant::now() + left.min(CLOCK_CHECK_INTERVAL));
            let reads = self.may_read();
            tokio::select! {
                // A socket that is always ready doesn't starve the other branches, as the loop checks their conditions,
                // too.
                biased;
                event = self.socket.next_event(&self.engine, &self.outbox, reads, true) => match event {
                    ConnectionEvent::End(end) => return end,
                    ConnectionEvent::Read | ConnectionEvent::Written => if let Some(end) = self.handle_frames().await {
                        return end;
                    },
                    ConnectionEvent::Checked => {}
                },
                () = sleep_until(next_look.unwrap_or(opened_at)), if next_look.is_some() => {}
                () = &mut draining => return Box::pin(self.drain()).await,
            }
        }
        ConnectionEnd::Lost
    }

    /// Drains the connection: refuses further frames, sends all events that were acknowledged before, and then
    /// `reconnect`.
    async fn drain(&mut self) -> ConnectionEnd {
        drop(self.publish_guard.take());
        let publishers_done = self.engine.drain.publishers_done();
        tokio::pin!(publishers_done);
        let reads_until = Instant::now() + CLOSE_TIMEOUT;
        loop {
            if let Some(end) = self.handle_frames().await {
                return end;
            }
            if self.socket.is_read_closed {
                return ConnectionEnd::Lost;
            }
            // Bounded in time, as a client may send without end.
            let reads = self.may_read() && Instant::now() < reads_until;
            let left = self.session.token_remaining();
            tokio::select! {
                // Frames that have arrived are answered before the drain goes on.
                biased;
                // `handle_frames` checks the token again.
                () = sleep(left.unwrap_or_default().min(CLOCK_CHECK_INTERVAL)), if left.is_some() => {}
                event = self.socket.next_event(&self.engine, &self.outbox, reads, true) => {
                    if let ConnectionEvent::End(end) = event {
                        return end;
                    }
                }
                () = &mut publishers_done => break,
            }
        }
        let caught_up = self.session.caught_up();
        tokio::pin!(caught_up);
        loop {
            tokio::select! {
                () = &mut caught_up => break,
                event = self.socket.next_event(&self.engine, &self.outbox, false, false) => {
                    if let ConnectionEvent::End(end) = event {
                        return end;
                    }
                }
            }
        }
        let reconnect = frame::Reconnect { after_ms: reconnect_delay_ms() };
        self.outbox.send(&reconnect.encode(None));
        ConnectionEnd::Close(1012, CloseReason::Draining)
    }

    /// Returns the time until the token expires, or without a token until the authentication timeout; `None` if neither
    /// applies.
    fn token_left(&self) -> Option<Duration> {
        match self.session.token_remaining() {
            Some(left) => Some(left),
            None if self.session.is_identified() => None,
            None => Some(
                self.engine.bounds.connections.auth_timeout.saturating_sub(self.socket.opened_at.elapsed()),
            ),
        }
    }

    /// Returns the end of the connection once [`token_left`](Self::token_left) is zero.
    fn token_end(&self) -> ConnectionEnd {
        match self.session.expires() {
            Some(_) => ConnectionEnd::expired(&self.outbox),
            None => ConnectionEnd::Close(4401, CloseReason::NoToken),
        }
    }

    /// Returns whether another frame may be handled: not while the outbox is over half full of unread responses (back
    /// pressure), and not after a cut.
    fn may_read(&self) -> bool {
        self.outbox
            .pressure()
            .is_some_and(|queued_bytes| queued_bytes <= self.engine.bounds.connections.max_outbox_bytes / 2)
    }

    /// Handles the received frames, as long as [`may_read`](Self::may_read) holds.
    async fn handle_frames(&mut self) -> Option<ConnectionEnd> {
        // Once for all frames that are handled without waiting; `handle_while_monitoring` checks the token while one
        // waits.
        if self.session.token_remaining().is_some_and(|left| left.is_zero()) {
            return Some(self.token_end());
        }
        while self.may_read() {
            let incoming = match self.decoder.next(&mut self.socket.input) {
                Ok(Some(IncomingMessage::Close(frame))) => {
                    return Some(ConnectionEnd::Closed(frame.map_or(1000, |frame| frame.code)));
                }
                Ok(Some(incoming)) => incoming,
                Ok(None) => break,
                Err(violation) => {
                    return Some(ConnectionEnd::Abort(violation.code, violation.message.to_owned()));
                }
            };
            let expires = self.session.expires().cloned();
            let handled = {
                let mut handling = pin!(handle(&mut self.session, &self.outbox, &incoming));
                match poll_fn(|cx| Poll::Ready(handling.as_mut().poll(cx))).await {
                    Poll::Ready(verdict) => Handled::Done(verdict),
                    // Boxed, so that a connection holds the memory of this future only while a frame waits.
                    Poll::Pending => {
                        let (engine, socket) = (&self.engine, &mut self.socket);
                        Box::pin(handle_while_monitoring(engine, socket, &self.outbox, expires, handling))
                            .await
                    }
                }
            };
            let verdict = match (handled, &incoming) {
                (Handled::Done(verdict), _) => verdict,
                (Handled::End(end), _) => return Some(end),
                (Handled::DrainTimeout, IncomingMessage::Text(text)) => self.session.abandon_frame(text),
                (Handled::DrainTimeout, _) => FrameOutcome::Continue,
            };
            match verdict {
                FrameOutcome::Continue => {}
                FrameOutcome::Unauthenticated => {
                    return Some(ConnectionEnd::Close(4401, CloseReason::NoToken));
                }
                FrameOutcome::Refused => return Some(ConnectionEnd::Close(4403, CloseReason::Refused)),
                FrameOutcome::RateLimited => {
                    return Some(ConnectionEnd::Close(4429, CloseReason::RateLimited));
                }
            }
        }
        if self.socket.input.is_empty() {
            self.socket.input = BytesMut::new();
        }
        None
    }
}

/// Handles a message or a control frame other than close.
async fn handle(session: &mut Session, outbox: &Outbox, incoming: &IncomingMessage) -> FrameOutcome {
    match incoming {
        IncomingMessage::Text(text) => session.handle(text).await,
        IncomingMessage::Binary(_) => {
            let refusal = invalid("a frame is text: binary frames have no meaning");
            Box::pin(session.reject(refusal)).await
        }
        IncomingMessage::Ping(payload) => match session.count().await {
            Ok(()) => {
                let mut pong = BytesMut::new();
                put_pong(&mut pong, payload);
                outbox.send_raw([pong.freeze()]);
                FrameOutcome::Continue
            }
            Err(refusal) => session.refuse(None, &refusal),
        },
        // A pong needs no response, even if no ping was sent (RFC 6455, section 5.5.3).
        IncomingMessage::Pong(_) | IncomingMessage::Close(_) => FrameOutcome::Continue,
    }
}

/// Waits for the handling of a frame that takes a while, and serves the socket meanwhile. If the connection ends first,
/// the caller drops the handling.
///
/// A lost socket doesn't end the handling: a frame that was received completely is carried out.
async fn handle_while_monitoring<T>(
    engine: &Arc<Engine>,
    socket: &mut MonitoredSocket,
    outbox: &Outbox,
    expires: Option<Expiry>,
    mut handling: Pin<&mut impl Future<Output = T>>,
) -> Handled<T> {
    // This connection holds a publish guard, so that this completes only with the timeout of a drain.
    let mut drain_timeout = pin!(engine.drain.publishers_done());
    let mut is_lost = false;
    loop {
        let left = expires.as_ref().map(Expiry::remaining);
        if left.is_some_and(|left| left.is_zero()) {
            return Handled::End(ConnectionEnd::expired(outbox));
        }
        let reads = socket.input.len() < MAX_READ_AHEAD_BYTES;
        let event = async {
            match is_lost {
                true => pending().await,
                // No keep-alive check while the socket isn't read: pongs would go unnoticed.
                false => socket.next_event(engine, outbox, reads, reads).await,
            }
        };
        tokio::select! {
            // The end of the connection takes precedence over the outcome of the frame.
            biased;
            () = sleep(left.unwrap_or_default().min(CLOCK_CHECK_INTERVAL)), if left.is_some() => {}
            event = event => match event {
                ConnectionEvent::End(ConnectionEnd::Lost) => is_lost = true,
                ConnectionEvent::End(end) => return Handled::End(end),
                ConnectionEvent::Read | ConnectionEvent::Written | ConnectionEvent::Checked => {}
            },
            done = handling.as_mut() => return Handled::Done(done),
            () = drain_timeout.as_mut() => return Handled::DrainTimeout,
        }
    }
}

impl MonitoredSocket {
    /// Waits for the next event of the socket. Reads only if `reads`, and runs the keep-alive check only if `checks`.
    /// Cancel safe.
    async fn next_event(
        &mut self,
        engine: &Engine,
        outbox: &Outbox,
        reads: bool,
        checks: bool,
    ) -> ConnectionEvent {
        outbox.set_reading(reads);
        tokio::select! {
            read = self.socket.reader.read(&mut self.input), if reads && !self.is_read_closed => {
                self.note_read(&read, outbox);
                ConnectionEvent::Read
            }
            outcome = self.socket.writer.write_some(outbox) => match ConnectionEnd::of(&outcome) {
                Some(end) => ConnectionEvent::End(end),
                None => ConnectionEvent::Written,
            },
            () = sleep_until(self.next_check), if checks => {
                let bounds = &engine.bounds;
                // A client that sends and doesn't read passes the keep-alive check, but its outbox stalls.
                if outbox.stalled_for().is_some_and(|stuck| stuck >= bounds.connections.stall_timeout()) {
                    return ConnectionEvent::End(ConnectionEnd::Abort(4409, "takes nothing".to_owned()));
                }
                if self.last_received.elapsed() < bounds.connections.ping_interval {
                    (self.is_pinged, self.next_check) = (false, self.last_received + bounds.connections.ping_interval);
                } else if !self.is_pinged {
                    (self.is_pinged, self.next_check) = (true, Instant::now() + bounds.connections.pong_timeout);
                    ping(outbox);
                } else if reads && !self.is_read_closed && self.read_now(outbox).await {
                    return ConnectionEvent::Read;
                } else {
                    return ConnectionEvent::End(ConnectionEnd::Abort(4408, "no pong in time".to_owned()));
                }
                ConnectionEvent::Checked
            }
        }
    }

    /// Reads the bytes that have arrived, without waiting, and returns whether there were any. On a busy machine the
    /// pong may have arrived in time though its deadline is polled first.
    async fn read_now(&mut self, outbox: &Outbox) -> bool {
        let read = {
            let mut reading = pin!(self.socket.reader.read(&mut self.input));
            poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await
        };
        match read {
            Poll::Ready(read) => self.note_read(&read, outbox),
            Poll::Pending => false,
        }
    }

    /// Updates the state by the outcome of a read, and returns whether bytes were received.
    fn note_read(&mut self, read: &io::Result<usize>, outbox: &Outbox) -> bool {
        if matches!(read, Ok(1..)) {
            self.last_received = Instant::now();
            outbox.note_read();
        } else {
            self.is_read_closed = true;
        }
        !self.is_read_closed
    }
}

fn ping(outbox: &Outbox) {
    let mut ping = BytesMut::new();
    put_ping(&mut ping, b"");
    outbox.send_raw([ping.freeze()]);
}
