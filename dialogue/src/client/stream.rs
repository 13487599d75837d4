//! A room over Server-Sent Events: for rooms that have no other channel. Each has a stream of its own, so that a slow
//! reader of one holds up no other.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::{
    HeaderValue, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Notify, oneshot, watch},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    core::{Backoff, Config, Inbox, Membership, Reply, TokenSource, Verdict, refused_handshake},
    endpoint::Endpoint,
    error::{Error, ErrorKind},
    frame::{Arrival, ErrorFrame, JoinedFrame, LeftFrame, ReconnectFrame, SkippedFrame},
    incoming::Interruption,
    status::{Stage, Status, StreamState},
    transport::{
        encode,
        http::{Answer, get},
        sse::{Message, Parser},
    },
};
use crate::wire::{Code, Position, Refusal};

/// Three of the server's comments in a row are missing: the stream is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// A server may ask to wait so long at most.
const LONGEST: Duration = Duration::from_secs(60);
/// After a rejected token the next one is asked for, so often in a row.
const TOKENS: u32 = 3;

/// One room's stream, over all its reconnects.
pub(crate) struct StreamRoom {
    room: Arc<str>,
    events: Option<BTreeSet<String>>,
    endpoint: Arc<Endpoint>,
    config: Config,
    membership: Membership,
    inbox: Arc<Inbox>,
    wake: Arc<Notify>,
    backoff: Backoff,
    rng: fastrand::Rng,
    first: Option<oneshot::Sender<Result<Reply, Error>>>,
    born: Instant,
    rejected: u32,
    refused: Option<Instant>,
    /// Set once this stream has begun with `joined`.
    joined: bool,
}

/// The action after the end of a stream.
#[derive(Debug)]
enum Next {
    /// Another stream, after this long or the backoff, whichever is longer.
    Again(Duration),
    /// Another stream at once.
    AtOnce,
    /// None.
    End(Interruption),
    /// None, and nobody to tell.
    Gone,
}

/// The parameters of a room's event stream.
pub(crate) struct Opening {
    pub(crate) room: Arc<str>,
    pub(crate) events: Option<BTreeSet<String>>,
    pub(crate) since: Option<Position>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) wake: Arc<Notify>,
}

impl StreamRoom {
    pub(crate) fn new(
        opening: Opening,
        endpoint: Arc<Endpoint>,
        config: Config,
        first: oneshot::Sender<Result<Reply, Error>>,
    ) -> Self {
        let Opening { room, events, since, inbox, wake } = opening;
        StreamRoom {
            room,
            events,
            endpoint,
            membership: Membership::new(inbox.clone(), since),
            inbox,
            wake,
            backoff: Backoff::new(config.backoff.0, config.backoff.1),
            rng: fastrand::Rng::with_seed(config.seed),
            first: Some(first),
            born: Instant::now(),
            config,
            rejected: 0,
            refused: None,
            joined: false,
        }
    }

    /// Streams until the reader is gone, the client stops, or the server wants it no more.
    pub(crate) async fn run(mut self: Box<Self>, mut status: watch::Receiver<Status>, mut stage: Stage) {
        let inbox = self.inbox.clone();
        let stopped = async {
            match status.wait_for(|status| matches!(status, Status::Stopped(_))).await.as_deref() {
                Ok(Status::Stopped(error)) if error.kind() != ErrorKind::Closed => Some(error.clone()),
                _ => None,
            }
        };
        let end = tokio::select! {
            end = self.stream(&mut stage) => end,
            error = stopped => error.map(Interruption::Ended),
        };
        // A reader that is told of the end finds the client's status without this stream.
        drop(stage);
        match end {
            Some(end) => {
                if let (Some(first), Interruption::Ended(error)) = (self.first.take(), &end) {
                    // The joining caller may have dropped its future.
                    let _heard = first.send(Err(error.clone()));
                }
                inbox.end(end);
            }
            None => inbox.close(),
        }
    }

    async fn stream(&mut self, stage: &mut Stage) -> Option<Interruption> {
        loop {
            let after = match self.once(stage).await {
                Next::Again(after) => after.min(LONGEST).max(self.backoff.next(&mut self.rng)),
                Next::AtOnce => continue,
                Next::End(end) => return Some(end),
                Next::Gone => return None,
            };
            stage.enter(StreamState::Waiting);
            if timeout(after, self.abandoned()).await.is_ok() {
                return None;
            }
            stage.enter(StreamState::Connecting);
        }
    }

    async fn abandoned(&self) {
        while !self.inbox.is_abandoned() {
            self.wake.notified().await;
        }
    }

    /// One stream, to its end.
    async fn once(&mut self, stage: &mut Stage) -> Next {
        self.joined = false;
        let since = self.membership.since().cloned();
        let opening = Instant::now() + self.config.opening;
        let opening = self.until().map_or(opening, |until| until.min(opening));
        let mut answer = match timeout_at(opening, self.open(since.as_ref())).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return self.failed(error),
            Err(_) if self.until() == Some(opening) => return late(),
            Err(_) => return self.failed(Error::new(ErrorKind::Connect, "connecting took too long")),
        };
        if answer.status != StatusCode::OK || !is_stream(&answer) {
            return self.answered(answer).await;
        }
        let mut parser = Parser::default();
        let mut messages = Vec::new();
        loop {
            let chunk = tokio::select! {
                chunk = timeout(SILENCE, answer.chunk()) => chunk,
                () = at(self.until()) => return late(),
                () = self.wake.notified() => {
                    if self.inbox.is_abandoned() {
                        return Next::Gone;
                    }
                    continue;
                }
            };
            let bytes = match chunk {
                Ok(Some(Ok(bytes))) => bytes,
                // A server that ends a stream without a word may do so as a matter of course.
                _ => return Next::Again(parser.retry().unwrap_or_default()),
            };
            if parser.read(&bytes, &mut messages).is_err() {
                return Next::Again(Duration::ZERO);
            }
            for message in messages.drain(..) {
                if !self.has_room(&message).await {
                    return Next::Gone;
                }
                match self.message(message, since.as_ref(), stage) {
                    Some(Next::AtOnce) => {
                        drop(answer);
                        return self.wait_for_room().await;
                    }
                    Some(next) => return next,
                    None => {}
                }
            }
        }
    }

    /// The deadline of the join, until it is answered.
    fn until(&self) -> Option<Instant> {
        self.first.as_ref().map(|_| self.born + self.config.deadline)
    }

    /// Waits until there is room for a message, and reads nothing meanwhile, so that the server waits with the
    /// application; false if the reader is gone. An ephemeral event is not waited for: it is skipped.
    async fn has_room(&self, message: &Message) -> bool {
        let Message { event, data } = message;
        // 128 bytes cover the fields of an item besides its texts.
        let bytes = data.len().saturating_add(128);
        let is_kept = || match event.as_str() {
            "dialogue:presence" => true,
            event if event.starts_with("dialogue:") => false,
            _ => {
                Arrival::read(data).map_or_else(|unreadable| unreadable.seq, |arrival| arrival.seq).is_some()
            }
        };
        if self.inbox.fits(bytes) || !is_kept() {
            return true;
        }
        while !self.inbox.fits(bytes) {
            if self.inbox.is_abandoned() {
                return false;
            }
            self.wake.notified().await;
        }
        true
    }

    /// The inbox is full: the stream is closed, and opened again where it stopped once there is room.
    async fn wait_for_room(&self) -> Next {
        while self.inbox.overflowed() && !self.inbox.wants_more() {
            if self.inbox.is_abandoned() {
                return Next::Gone;
            }
            self.wake.notified().await;
        }
        Next::AtOnce
    }

    async fn open(&self, since: Option<&Position>) -> Result<Answer, Error> {
        let mut target = format!("/events?room={}", encode(&self.room));
        for event in self.events.iter().flatten() {
            target.push_str("&event=");
            target.push_str(&encode(event));
        }
        let mut headers = self.endpoint.headers().await?;
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(since) = since {
            let id = last_event_id(&self.room, since);
            let id = HeaderValue::from_str(&id)
                .map_err(|error| Error::caused(ErrorKind::Decode, "show the position", error))?;
            headers.insert("last-event-id", id);
        }
        get(&self.endpoint.address, &target, headers).await
    }

    /// No answer came.
    fn failed(&mut self, error: Error) -> Next {
        tracing::debug!(room = %self.room, %error, "no stream");
        match error.kind() {
            ErrorKind::Address | ErrorKind::Decode => Next::End(Interruption::Ended(error)),
            _ => Next::Again(Duration::ZERO),
        }
    }

    /// An answer came that is no stream.
    async fn answered(&mut self, answer: Answer) -> Next {
        let status = answer.status.as_u16();
        let after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let refusal = timeout(self.config.opening, answer.refusal()).await.ok().flatten();
        let after = refusal
            .as_ref()
            .and_then(|refusal| refusal.retry_after)
            .or(after.map(Duration::from_secs))
            .unwrap_or_default();
        // Not Dialogue answers: a proxy whose server restarts, for one. It is no verdict on who was in the room.
        if refusal.is_none() && self.first.is_none() {
            return Next::Again(after);
        }
        self.refused(status, refusal, after)
    }

    /// The server refuses the room, at this status or in a stream that ends with it.
    fn refused(&mut self, status: u16, refusal: Option<Refusal>, after: Duration) -> Next {
        if status == 401 {
            return self.unauthenticated(refusal, status);
        }
        let since = *self.refused.get_or_insert_with(Instant::now);
        let busy = matches!(&refusal, Some(Refusal { code: Code::RoomFull | Code::TooMany, .. }));
        let patient = self.first.is_none() && since.elapsed() < self.config.deadline;
        if status == 429 || status >= 500 || (busy && patient) {
            return Next::Again(after);
        }
        Next::End(Interruption::Ended(refused_handshake(status, refusal)))
    }

    fn unauthenticated(&mut self, refusal: Option<Refusal>, status: u16) -> Next {
        self.rejected = self.rejected.saturating_add(1);
        let again = match self.endpoint.source() {
            // The key that signed an anonymous token may have gone with the server's last process.
            TokenSource::None => self.endpoint.forget_anonymous(),
            TokenSource::Fixed => false,
            TokenSource::Renewable => self.rejected < TOKENS,
        };
        if again {
            return Next::Again(Duration::ZERO);
        }
        Next::End(Interruption::Ended(match refusal {
            Some(refusal) if self.endpoint.shows_nobody() => Error::token_wanted(refusal),
            refusal => refused_handshake(status, refusal),
        }))
    }

    /// Handles a message of the stream, and returns the next action; `None` if the stream goes on.
    fn message(&mut self, message: Message, since: Option<&Position>, stage: &mut Stage) -> Option<Next> {
        let Message { event, data } = message;
        match event.as_str() {
            "dialogue:joined" => self.joined(read::<JoinedFrame>(&data)?, since, stage),
            "dialogue:history" => self.membership.history(read(&data)?),
            "dialogue:presence" => self.membership.presence(read(&data)?),
            "dialogue:skipped" => self.inbox.skip(read::<SkippedFrame>(&data)?.count),
            "dialogue:left" => {
                return Some(Next::End(Interruption::Left { reason: read::<LeftFrame>(&data)?.reason }));
            }
            "dialogue:reconnect" => {
                let after = read::<ReconnectFrame>(&data)?.after_ms;
                return Some(Next::Again(Duration::from_millis(after)));
            }
            "dialogue:error" => return self.error(read::<ErrorFrame>(&data)?.into()),
            event if event.starts_with("dialogue:") => {}
            _ => {
                let now = self.born.elapsed();
                return match self.membership.event(now, Arrival::read(&data)) {
                    Verdict::Taken | Verdict::Duplicate => None,
                    Verdict::Overflow | Verdict::Doubtful => Some(Next::AtOnce),
                };
            }
        }
        // Presence that does not fit is asked for again too.
        self.inbox.overflowed().then_some(Next::AtOnce)
    }

    fn joined(&mut self, frame: JoinedFrame, since: Option<&Position>, stage: &mut Stage) {
        if frame.room_id != *self.room {
            return;
        }
        stage.enter(StreamState::Open);
        // One that comes unasked is of another log than the room had: what was read so far is the position then.
        let since = if self.joined { self.membership.since().cloned() } else { since.cloned() };
        self.joined = true;
        self.backoff.reset();
        self.rejected = 0;
        self.refused = None;
        let first = self.first.take();
        let joined = self.membership.joined(frame, since, first.is_some());
        if let Some(first) = first {
            // The joining caller may have dropped its future; the inbox is closed then.
            let _heard = first.send(Ok(Reply::Joined(joined)));
        }
    }

    fn error(&mut self, refusal: Refusal) -> Option<Next> {
        match refusal.code {
            Code::Unauthenticated => Some(self.unauthenticated(Some(refusal), 401)),
            Code::PermissionDenied | Code::JoinDenied | Code::RoomNotFound => {
                Some(Next::End(Interruption::Ended(Error::refused(refusal))))
            }
            code if self.joined => {
                tracing::debug!(?code, room = %self.room, "the server says");
                None
            }
            // A failure that passes comes in a stream, from which browsers come back.
            code => {
                let after = refusal.retry_after.unwrap_or_default();
                Some(self.refused(code.status(), Some(refusal), after))
            }
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn late() -> Next {
    let late = Error::new(ErrorKind::Deadline, "the server did not answer in time");
    Next::End(Interruption::Ended(late))
}

fn is_stream(answer: &Answer) -> bool {
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// A frame that can't be read is passed over.
fn read<T: DeserializeOwned>(data: &str) -> Option<T> {
    serde_json::from_str(data).inspect_err(|error| tracing::debug!(%error, "a frame that can't be read")).ok()
}

/// `chat=k2f9.42.EVENTID`.
fn last_event_id(room: &str, position: &Position) -> String {
    format!("{}={}.{}.{}", encode(room), encode(&position.epoch), position.seq, encode(&position.event_id))
}
