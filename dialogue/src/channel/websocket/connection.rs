//! One socket, from `connected` to its close frame.

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
    frame::{Decoder, Incoming, put_close, put_ping, put_pong},
    socket::{Relief, Socket, linger},
};
use crate::{
    engine::{Engine, Speaking, spread_ms},
    hub::{Cut, Outbox},
    identity::{CLOCK_CHECK_INTERVAL, Expiry, User},
    observe::Ended,
    session::{FrameOutcome, NewConnection, Session, invalid},
    wire::{Encoding, frame},
};

/// See the [module](self).
pub(super) struct Connection {
    engine: Arc<Engine>,
    outbox: Arc<Outbox>,
    session: Session,
    /// Whoever the handshake told of.
    user: Option<User>,
    /// Until the instance drains.
    speaking: Option<Speaking>,
    decoder: Decoder,
    line: Line,
}

/// The socket of a connection, and what there is to watch of it whether a frame is being handled or not.
struct Line {
    socket: Socket,
    /// What was read and is no whole frame yet; empty between frames, so that an idle connection holds no buffer.
    input: BytesMut,
    opened: Instant,
    /// When the client last sent anything.
    heard: Instant,
    /// When it is looked at next whether the client is silent.
    check: Instant,
    pinged: bool,
    /// Nothing more is to be read.
    ended: bool,
}

/// A change that [`Line::watch`] saw.
enum Change {
    /// Something was read, or the end.
    Read,
    /// Something was written, or nothing was to be.
    Relieved,
    /// A ping was sent, or not yet due.
    Checked,
    End(End),
}

/// The outcome of handling a frame that took a while.
enum Seen<T> {
    Done(T),
    /// The connection ends meanwhile.
    End(End),
    /// The instance drains, and it took longer than that lets it.
    Overdue,
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client closes; it is answered with its own code.
    Closed(u16),
    /// The socket is gone.
    Gone,
    /// We close, with this code and reason, once what waits is written.
    Close(u16, Ended),
    /// We close a client that doesn't take what waits.
    Cut(u16, String),
}

impl End {
    fn of(relief: &Relief) -> Option<Self> {
        match relief {
            Relief::Done => None,
            Relief::Cut(Cut::TooSlow) => Some(End::Cut(4409, "reads too slowly".to_owned())),
            Relief::Cut(Cut::Closed) => Some(End::Gone),
            Relief::Cut(Cut::Silent) => Some(End::Cut(4408, "no answer in time".to_owned())),
            Relief::Cut(Cut::Removed(reason)) => Some(End::Cut(4403, reason.to_string())),
        }
    }

    /// The token is over: what waits for the client is dropped, and so is what the client sent.
    fn expired(outbox: &Outbox) -> Self {
        outbox.revoke();
        End::Cut(4401, Ended::Expired.reason().to_owned())
    }

    fn ended(&self) -> Ended {
        match self {
            End::Closed(_) => Ended::Closed,
            End::Gone => Ended::Lost,
            End::Close(_, why) => *why,
            End::Cut(4401, _) => Ended::Expired,
            End::Cut(4403, _) => Ended::Removed,
            End::Cut(4408, _) => Ended::Silent,
            End::Cut(4409, _) => Ended::TooSlow,
            End::Cut(..) => Ended::Malformed,
        }
    }
}

/// How long a client has to take what waits for it and the close frame.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long is read on after the close frame.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are read of a client while a frame of it is being handled, so that its pongs are heard and its end is
/// noticed.
const AHEAD: usize = 64 << 10;

impl Connection {
    pub(super) fn new(
        engine: Arc<Engine>,
        mut socket: Socket,
        user: Option<User>,
        entrance: NewConnection,
        speaking: Speaking,
    ) -> Self {
        let id = engine.connection_id();
        let outbox =
            Outbox::new(id, Encoding::WebSocket, engine.bounds.max_outbox_bytes, socket.direct(), Vec::new());
        let mut session = Session::new(Arc::clone(&engine), Arc::clone(&outbox), entrance);
        session.open();
        let now = Instant::now();
        Connection {
            session,
            user,
            speaking: Some(speaking),
            decoder: Decoder::new(engine.bounds.max_frame_bytes),
            line: Line {
                input: std::mem::take(&mut socket.early),
                socket,
                opened: now,
                heard: now,
                check: now + engine.bounds.ping_interval,
                pinged: false,
                ended: false,
            },
            outbox,
            engine,
        }
    }

    pub(super) fn span(&self) -> tracing::Span {
        self.session.span()
    }

    pub(super) async fn run(mut self: Box<Self>) {
        let end = match Box::pin(self.welcome()).await {
            Ok(()) => self.converse().await,
            Err(end) => end,
        };
        // In a box, so that a connection doesn't hold what only its end needs.
        Box::pin(self.finish(end)).await;
    }

    async fn finish(self: Box<Self>, end: End) {
        let Connection { line: Line { mut socket, .. }, mut session, outbox, .. } = *self;
        session.end(end.ended());
        // Nothing more reaches it, and its rooms know at once.
        drop(session);
        let (code, reason, rest) = match &end {
            End::Gone => return socket.writer.close().await,
            End::Closed(code) => (*code, "", outbox.last_words()),
            End::Cut(code, reason) => {
                socket.writer.give_up();
                (*code, reason.as_str(), outbox.last_words())
            }
            End::Close(code, why) => {
                let relieved = async {
                    while outbox.waiting() > 0
                        && !matches!(socket.writer.relieve(&outbox).await, Relief::Cut(_))
                    {
                    }
                };
                // Whoever doesn't take it in that time comes back for it.
                let _ = tokio::time::timeout(LAST_WORDS, relieved).await;
                (*code, why.reason(), outbox.last_words())
            }
        };
        let mut last = BytesMut::new();
        put_close(&mut last, code, reason);
        socket.writer.finish(rest, &last, LAST_WORDS).await;
        if !matches!(end, End::Closed(_)) {
            socket.writer.end().await;
            linger(&mut socket.reader, LINGER).await;
        }
        socket.writer.close().await;
    }

    /// Says who the connection is, as far as the handshake told.
    async fn welcome(&mut self) -> Result<(), End> {
        let Some(user) = self.user.take() else { return Ok(()) };
        let expires = user.expires().cloned();
        let seen = {
            let identifying = pin!(self.session.identify(user));
            see_through(&self.engine, &mut self.line, &self.outbox, expires, identifying).await
        };
        match seen {
            Seen::Done(Ok(())) => {}
            Seen::Done(Err(refusal)) => {
                self.session.refuse(None, &refusal);
                return Err(End::Close(4403, Ended::TurnedAway));
            }
            Seen::End(end) => return Err(end),
            Seen::Overdue => return Err(self.hear_out().await),
        }
        self.session.send_connected();
        Ok(())
    }

    async fn converse(&mut self) -> End {
        if let Some(end) = self.take_frames().await {
            return end;
        }
        let draining = self.engine.drain.started();
        tokio::pin!(draining);
        let opened = self.line.opened;
        while !self.line.ended {
            let left = self.token_left();
            if left.is_some_and(|left| left.is_zero()) {
                return self.token_end();
            }
            if self.engine.drain.is_on() {
                return Box::pin(self.hear_out()).await;
            }
            let look = left.map(|left| Instant::now() + left.min(CLOCK_CHECK_INTERVAL));
            let reads = self.has_room();
            tokio::select! {
                // A socket that is never silent keeps nothing from its turn: the others are looked at above, too.
                biased;
                change = self.line.watch(&self.engine, &self.outbox, reads, true) => match change {
                    Change::End(end) => return end,
                    Change::Read | Change::Relieved => if let Some(end) = self.take_frames().await {
                        return end;
                    },
                    Change::Checked => {}
                },
                () = sleep_until(look.unwrap_or(opened)), if look.is_some() => {}
                () = &mut draining => return Box::pin(self.hear_out()).await,
            }
        }
        End::Gone
    }

    /// Refuses what comes, and stays until all that was said in its rooms is on its way.
    async fn hear_out(&mut self) -> End {
        drop(self.speaking.take());
        let silent = self.engine.silent();
        tokio::pin!(silent);
        let until = Instant::now() + LAST_WORDS;
        loop {
            if let Some(end) = self.take_frames().await {
                return end;
            }
            if self.line.ended {
                return End::Gone;
            }
            // A client that never stops is answered for a while.
            let reads = self.has_room() && Instant::now() < until;
            let left = self.session.token_remaining();
            tokio::select! {
                // Frames that have arrived are answered first.
                biased;
                // The token is looked at again where frames are taken.
                () = sleep(left.unwrap_or_default().min(CLOCK_CHECK_INTERVAL)), if left.is_some() => {}
                change = self.line.watch(&self.engine, &self.outbox, reads, true) => {
                    if let Change::End(end) = change {
                        return end;
                    }
                }
                () = &mut silent => break,
            }
        }
        let caught_up = self.session.caught_up();
        tokio::pin!(caught_up);
        loop {
            tokio::select! {
                () = &mut caught_up => break,
                change = self.line.watch(&self.engine, &self.outbox, false, false) => {
                    if let Change::End(end) = change {
                        return end;
                    }
                }
            }
        }
        let reconnect = frame::Reconnect { after_ms: spread_ms() };
        let reconnect = frame::Frame::new("reconnect", None, reconnect).encode();
        self.outbox.send("reconnect", &reconnect);
        End::Close(1012, Ended::Draining)
    }

    /// The time that the connection may go on with the token that it has, or has not, shown; `None` without end.
    fn token_left(&self) -> Option<Duration> {
        match self.session.token_remaining() {
            Some(left) => Some(left),
            None if self.session.is_identified() => None,
            None => Some(self.engine.bounds.auth_timeout.saturating_sub(self.line.opened.elapsed())),
        }
    }

    /// The end of the connection once [`token_left`](Self::token_left) is zero.
    fn token_end(&self) -> End {
        match self.session.expires() {
            Some(_) => End::expired(&self.outbox),
            None => End::Close(4401, Ended::NoToken),
        }
    }

    /// Returns whether another frame may be taken: not of a client that doesn't read its replies, and not after a cut.
    fn has_room(&self) -> bool {
        self.outbox.pressure().is_some_and(|waiting| waiting <= self.engine.bounds.max_outbox_bytes / 2)
    }

    /// Handles the frames that are there, as long as there is room for what they are answered.
    async fn take_frames(&mut self) -> Option<End> {
        // Time passes only where one of them takes a while: then it is looked at again.
        if self.session.token_remaining().is_some_and(|left| left.is_zero()) {
            return Some(self.token_end());
        }
        while self.has_room() {
            let incoming = match self.decoder.next(&mut self.line.input) {
                Ok(Some(Incoming::Close(frame))) => {
                    return Some(End::Closed(frame.map_or(1000, |frame| frame.code)));
                }
                Ok(Some(incoming)) => incoming,
                Ok(None) => break,
                Err(violation) => return Some(End::Cut(violation.code, violation.message.to_owned())),
            };
            let expires = self.session.expires().cloned();
            let seen = {
                let mut handling = pin!(handle(&mut self.session, &self.outbox, &incoming));
                match poll_fn(|cx| Poll::Ready(handling.as_mut().poll(cx))).await {
                    Poll::Ready(verdict) => Seen::Done(verdict),
                    // In a box, so that a connection doesn't hold what only a frame that takes a while needs.
                    Poll::Pending => {
                        let (engine, line) = (&self.engine, &mut self.line);
                        Box::pin(see_through(engine, line, &self.outbox, expires, handling)).await
                    }
                }
            };
            let verdict = match (seen, &incoming) {
                (Seen::Done(verdict), _) => verdict,
                (Seen::End(end), _) => return Some(end),
                (Seen::Overdue, Incoming::Text(text)) => self.session.abandon_frame(text),
                (Seen::Overdue, _) => FrameOutcome::Continue,
            };
            match verdict {
                FrameOutcome::Continue => {}
                FrameOutcome::Unauthenticated => return Some(End::Close(4401, Ended::NoToken)),
                FrameOutcome::Refused => return Some(End::Close(4403, Ended::TurnedAway)),
                FrameOutcome::RateLimited => return Some(End::Close(4429, Ended::Hammers)),
            }
        }
        if self.line.input.is_empty() {
            self.line.input = BytesMut::new();
        }
        None
    }
}

/// Handles what a client sent, but for a close frame.
async fn handle(session: &mut Session, outbox: &Outbox, incoming: &Incoming) -> FrameOutcome {
    match incoming {
        Incoming::Text(text) => session.handle(text).await,
        Incoming::Binary(_) => {
            let refusal = invalid("a frame is text: binary frames have no meaning");
            Box::pin(session.reject(refusal)).await
        }
        Incoming::Ping(payload) => match session.count().await {
            Ok(()) => {
                let mut pong = BytesMut::new();
                put_pong(&mut pong, payload);
                outbox.send_raw([pong.freeze()]);
                FrameOutcome::Continue
            }
            Err(refusal) => session.refuse(None, &refusal),
        },
        // Asked for or not, there is nothing to answer.
        Incoming::Pong(_) | Incoming::Close(_) => FrameOutcome::Continue,
    }
}

/// Waits for the handling of a frame that takes a while, or for what ends the connection before; then, the handling is
/// to be dropped.
///
/// A socket that is gone ends nothing: what its client sent before is carried out.
async fn see_through<T>(
    engine: &Arc<Engine>,
    line: &mut Line,
    outbox: &Outbox,
    expires: Option<Expiry>,
    mut handling: Pin<&mut impl Future<Output = T>>,
) -> Seen<T> {
    // The instance goes on draining only after a while where somebody still speaks, as this connection does.
    let mut overdue = pin!(engine.silent());
    let mut gone = false;
    loop {
        let left = expires.as_ref().map(Expiry::remaining);
        if left.is_some_and(|left| left.is_zero()) {
            return Seen::End(End::expired(outbox));
        }
        let reads = line.input.len() < AHEAD;
        let change = async {
            match gone {
                true => pending().await,
                // While nothing is read of a client, its silence says nothing.
                false => line.watch(engine, outbox, reads, reads).await,
            }
        };
        tokio::select! {
            // The end of the connection comes before the outcome of the frame.
            biased;
            () = sleep(left.unwrap_or_default().min(CLOCK_CHECK_INTERVAL)), if left.is_some() => {}
            change = change => match change {
                Change::End(End::Gone) => gone = true,
                Change::End(end) => return Seen::End(end),
                Change::Read | Change::Relieved | Change::Checked => {}
            },
            done = handling.as_mut() => return Seen::Done(done),
            () = overdue.as_mut() => return Seen::Overdue,
        }
    }
}

impl Line {
    /// Waits for the next thing that happens on the socket; reads only if it is to, and looks whether the client is
    /// silent only if it is to. Cancel safe.
    async fn watch(&mut self, engine: &Engine, outbox: &Outbox, reads: bool, judges: bool) -> Change {
        outbox.set_read(reads);
        tokio::select! {
            read = self.socket.reader.read(&mut self.input), if reads && !self.ended => {
                self.note_read(&read, outbox);
                Change::Read
            }
            relief = self.socket.writer.relieve(outbox) => match End::of(&relief) {
                Some(end) => Change::End(end),
                None => Change::Relieved,
            },
            () = sleep_until(self.check), if judges => {
                let bounds = &engine.bounds;
                // A client that talks and doesn't read is heard, but holds what waits for it.
                if outbox.stuck_for().is_some_and(|stuck| stuck >= bounds.stall_timeout()) {
                    return Change::End(End::Cut(4409, "takes nothing".to_owned()));
                }
                if self.heard.elapsed() < bounds.ping_interval {
                    (self.pinged, self.check) = (false, self.heard + bounds.ping_interval);
                } else if !self.pinged {
                    (self.pinged, self.check) = (true, Instant::now() + bounds.pong_timeout);
                    ping(outbox);
                } else if reads && !self.ended && self.read_now(outbox).await {
                    return Change::Read;
                } else {
                    return Change::End(End::Cut(4408, "no pong in time".to_owned()));
                }
                Change::Checked
            }
        }
    }

    /// Reads what has arrived, and returns whether that was anything: a busy machine may look late at the pong and at
    /// its deadline.
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

    /// Notes the outcome of reading, and returns whether the client is heard.
    fn note_read(&mut self, read: &io::Result<usize>, outbox: &Outbox) -> bool {
        if matches!(read, Ok(1..)) {
            self.heard = Instant::now();
            outbox.hear();
        } else {
            self.ended = true;
        }
        !self.ended
    }
}

fn ping(outbox: &Outbox) {
    let mut ping = BytesMut::new();
    put_ping(&mut ping, b"");
    outbox.send_raw([ping.freeze()]);
}
