//! One socket, from `connected` to its close frame.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::time::{Instant, sleep_until};

use super::{
    frame::{Decoder, Incoming, put_close, put_ping, put_pong},
    socket::{Relief, Socket, linger},
};
use crate::{
    engine::{Engine, Speaking, spread_ms},
    hub::{Cut, Outbox},
    identity::User,
    observe::Ended,
    session::{Entrance, Session, Verdict, invalid},
    wire::{Encoding, frame},
};

/// See the [module](self).
pub(super) struct Connection {
    engine: Arc<Engine>,
    socket: Socket,
    outbox: Arc<Outbox>,
    session: Session,
    /// Whoever the handshake told of.
    user: Option<User>,
    /// Until the instance drains.
    speaking: Option<Speaking>,
    decoder: Decoder,
    /// What was read and is no whole frame yet; empty between frames, so that an idle connection holds no buffer.
    input: BytesMut,
    /// When the client last sent anything.
    heard: Instant,
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
            Relief::Cut(Cut::Removed(reason)) => Some(End::Cut(4403, reason.to_string())),
        }
    }

    fn ended(&self) -> Ended {
        match self {
            End::Closed(_) => Ended::Closed,
            End::Gone => Ended::Lost,
            End::Close(_, why) => *why,
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

impl Connection {
    pub(super) fn new(
        engine: Arc<Engine>,
        mut socket: Socket,
        user: Option<User>,
        entrance: Entrance,
        speaking: Speaking,
    ) -> Self {
        let id = engine.connection_id();
        let outbox = Outbox::new(id, Encoding::WebSocket, engine.limits.outbox, socket.direct(), Vec::new());
        let mut session = Session::new(Arc::clone(&engine), Arc::clone(&outbox), entrance);
        session.open();
        Connection {
            session,
            user,
            speaking: Some(speaking),
            decoder: Decoder::new(engine.limits.frame),
            input: std::mem::take(&mut socket.early),
            heard: Instant::now(),
            outbox,
            socket,
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
        let Connection { mut socket, mut session, outbox, .. } = *self;
        session.end(end.ended());
        // Nothing more reaches it, and its rooms know at once.
        drop(session);
        let (code, reason, rest) = match &end {
            End::Gone => return socket.writer.close().await,
            End::Closed(code) => (*code, "", outbox.last_words()),
            End::Cut(code, reason) => (*code, reason.as_str(), outbox.last_words()),
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
        if let Err(refusal) = self.session.identify(user).await {
            self.session.refuse(None, &refusal);
            return Err(End::Close(4403, Ended::TurnedAway));
        }
        self.session.greet();
        Ok(())
    }

    async fn converse(&mut self) -> End {
        if let Some(end) = self.take_frames().await {
            return end;
        }
        let draining = self.engine.drain.started();
        tokio::pin!(draining);
        let mut pinged = false;
        let opened = Instant::now();
        let mut check = opened + self.engine.limits.ping_every;
        loop {
            // Until when it may go on with the token that it has, or has not, shown.
            let token_until = match self.session.expires() {
                Some(time) => Some(time),
                None if self.session.is_identified() => None,
                None => Some(opened + self.engine.limits.token_within),
            };
            tokio::select! {
                read = self.socket.reader.read(&mut self.input), if self.has_room() => match read {
                    Ok(1..) => {
                        self.heard = Instant::now();
                        if let Some(end) = self.take_frames().await {
                            return end;
                        }
                    }
                    _ => return End::Gone,
                },
                relief = self.socket.writer.relieve(&self.outbox) => match End::of(&relief) {
                    Some(end) => return end,
                    None => if let Some(end) = self.take_frames().await {
                        return end;
                    },
                },
                () = sleep_until(token_until.unwrap_or(check)), if token_until.is_some() => {
                    let expired = self.session.expires().is_some();
                    return End::Close(4401, if expired { Ended::Expired } else { Ended::NoToken });
                }
                () = sleep_until(check) => {
                    let limits = &self.engine.limits;
                    let silent = self.heard.elapsed();
                    if silent < limits.ping_every {
                        (pinged, check) = (false, self.heard + limits.ping_every);
                    } else if !pinged {
                        (pinged, check) = (true, Instant::now() + limits.pong_within);
                        self.ping();
                    } else {
                        return End::Cut(4408, "no pong in time".to_owned());
                    }
                },
                () = &mut draining => return Box::pin(self.hear_out()).await,
            }
        }
    }

    /// Takes no more frames, and stays until all that was said in its rooms is on its way.
    async fn hear_out(&mut self) -> End {
        drop(self.speaking.take());
        let silent = self.engine.silent();
        tokio::pin!(silent);
        loop {
            tokio::select! {
                () = &mut silent => break,
                relief = self.socket.writer.relieve(&self.outbox) => if let Some(end) = End::of(&relief) {
                    return end;
                },
            }
        }
        self.session.caught_up().await;
        let reconnect = frame::Reconnect { after_ms: spread_ms() };
        let reconnect = frame::Frame::new("reconnect", None, reconnect).encode();
        self.outbox.send("reconnect", &reconnect);
        End::Close(1012, Ended::Draining)
    }

    /// Who doesn't read what is there isn't asked for more.
    fn has_room(&self) -> bool {
        self.outbox.waiting() <= self.engine.limits.outbox / 2
    }

    /// Handles the frames that are there, as long as there is room for what they are answered.
    async fn take_frames(&mut self) -> Option<End> {
        while self.has_room() {
            let verdict = match self.decoder.next(&mut self.input) {
                Ok(Some(Incoming::Text(text))) => self.session.handle(&text).await,
                Ok(Some(Incoming::Binary(_))) => {
                    let refusal = invalid("a frame is text: binary frames have no meaning");
                    Box::pin(self.session.reject(refusal)).await
                }
                Ok(Some(Incoming::Ping(payload))) => match self.session.count().await {
                    Ok(()) => {
                        let mut pong = BytesMut::new();
                        put_pong(&mut pong, &payload);
                        self.outbox.send_raw(pong.freeze());
                        Verdict::GoOn
                    }
                    Err(refusal) => self.session.refuse(None, &refusal),
                },
                // Asked for or not, there is nothing to answer.
                Ok(Some(Incoming::Pong(_))) => Verdict::GoOn,
                Ok(Some(Incoming::Close(frame))) => {
                    return Some(End::Closed(frame.map_or(1000, |frame| frame.code)));
                }
                Ok(None) => break,
                Err(violation) => return Some(End::Cut(violation.code, violation.message.to_owned())),
            };
            match verdict {
                Verdict::GoOn => {}
                Verdict::Unauthenticated => return Some(End::Close(4401, Ended::NoToken)),
                Verdict::TurnedAway => return Some(End::Close(4403, Ended::TurnedAway)),
                Verdict::Hammers => return Some(End::Close(4429, Ended::Hammers)),
            }
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        None
    }

    fn ping(&self) {
        let mut ping = BytesMut::new();
        put_ping(&mut ping, b"");
        self.outbox.send_raw(ping.freeze());
    }
}
