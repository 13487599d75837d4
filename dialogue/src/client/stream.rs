//! Rooms over Server-Sent Events, for rooms without a WebSocket channel. Each room has a task and a stream of its own,
//! spawned by the driver, so that a slow reader delays no other room. A stream resumes with `Last-Event-ID`, as the
//! HTML standard's [EventSource](https://html.spec.whatwg.org/multipage/server-sent-events.html) does.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};

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
    core::{Backoff, Config, InsertOutcome, Membership, Reply, RoomBuffer, TokenSource, response_error},
    endpoint::Endpoint,
    error::{Error, ErrorKind},
    frame::read_event,
    incoming::Interruption,
    status::{Status, StreamState, StreamStatus},
    transport::{
        encode,
        http::{Response, get},
        sse::{Message, Parser},
    },
};
use crate::wire::{Code, Position, Refusal, frame};

/// Time without a byte after which a stream counts as dead: three intervals of the server's comments.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);
/// Maximum delay that a server can ask for before the client reconnects.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
/// Number of rejected tokens in a row after which a renewable token is no longer requested.
const MAX_TOKEN_ATTEMPTS: u32 = 3;

/// The state of one room's stream, kept over reconnects.
pub(crate) struct StreamRoom {
    room: Arc<str>,
    events: Option<BTreeSet<String>>,
    endpoint: Arc<Endpoint>,
    config: Config,
    membership: Membership,
    buffer: Arc<RoomBuffer>,
    wake: Arc<Notify>,
    backoff: Backoff,
    rng: fastrand::Rng,
    first: Option<oneshot::Sender<Result<Reply, Error>>>,
    started: Instant,
    rejected: u32,
    refused: Option<Instant>,
    /// Set once the current stream has received its `joined` frame.
    joined: bool,
}

/// The action that follows the end of a stream.
#[derive(Debug)]
enum NextStep {
    /// Opens another stream after this delay or the backoff's, whichever is longer.
    RetryAfter(Duration),
    /// Opens another stream at once.
    Reopen,
    /// Ends the room with this interruption.
    End(Interruption),
    /// Ends the room without an interruption: the reader was dropped.
    Abandoned,
}

/// The parameters of a room's stream.
pub(crate) struct StreamSpec {
    pub(crate) room: Arc<str>,
    pub(crate) events: Option<BTreeSet<String>>,
    pub(crate) since: Option<Position>,
    pub(crate) buffer: Arc<RoomBuffer>,
    pub(crate) wake: Arc<Notify>,
}

impl StreamRoom {
    pub(crate) fn new(
        spec: StreamSpec,
        endpoint: Arc<Endpoint>,
        config: Config,
        first: oneshot::Sender<Result<Reply, Error>>,
    ) -> Self {
        let StreamSpec { room, events, since, buffer, wake } = spec;
        StreamRoom {
            room,
            events,
            endpoint,
            membership: Membership::new(buffer.clone(), since),
            buffer,
            wake,
            backoff: Backoff::new(config.backoff.0, config.backoff.1),
            rng: fastrand::Rng::with_seed(config.seed),
            first: Some(first),
            started: Instant::now(),
            config,
            rejected: 0,
            refused: None,
            joined: false,
        }
    }

    /// Runs until the reader is dropped, the client stops, or the server ends the membership.
    pub(crate) async fn run(
        mut self: Box<Self>,
        mut status: watch::Receiver<Status>,
        mut stream_status: StreamStatus,
    ) {
        let buffer = self.buffer.clone();
        let stopped = async {
            match status.wait_for(|status| matches!(status, Status::Stopped(_))).await.as_deref() {
                Ok(Status::Stopped(error)) if error.kind() != ErrorKind::Closed => Some(error.clone()),
                _ => None,
            }
        };
        let end = tokio::select! {
            end = self.stream(&mut stream_status) => end,
            error = stopped => error.map(Interruption::Ended),
        };
        // Removes this stream from the client's status before the reader receives the end.
        drop(stream_status);
        match end {
            Some(end) => {
                if let (Some(first), Interruption::Ended(error)) = (self.first.take(), &end) {
                    // The caller of the join may have dropped its future.
                    let _sent = first.send(Err(error.clone()));
                }
                buffer.end(end);
            }
            None => buffer.close(),
        }
    }

    async fn stream(&mut self, stream_status: &mut StreamStatus) -> Option<Interruption> {
        loop {
            let after = match self.run_once(stream_status).await {
                NextStep::RetryAfter(after) => {
                    after.min(MAX_RETRY_DELAY).max(self.backoff.next(&mut self.rng))
                }
                NextStep::Reopen => continue,
                NextStep::End(end) => return Some(end),
                NextStep::Abandoned => return None,
            };
            stream_status.enter(StreamState::Waiting);
            if timeout(after, self.abandoned()).await.is_ok() {
                return None;
            }
            stream_status.enter(StreamState::Connecting);
        }
    }

    async fn abandoned(&self) {
        while !self.buffer.is_abandoned() {
            self.wake.notified().await;
        }
    }

    /// Runs one stream to its end.
    async fn run_once(&mut self, stream_status: &mut StreamStatus) -> NextStep {
        self.joined = false;
        let since = self.membership.since().cloned();
        let opening = Instant::now() + self.config.connect_timeout;
        let opening = self.join_deadline().map_or(opening, |until| until.min(opening));
        let mut response = match timeout_at(opening, self.open(since.as_ref())).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return self.on_connect_error(error),
            Err(_) if self.join_deadline() == Some(opening) => return join_timed_out(),
            Err(_) => {
                return self
                    .on_connect_error(Error::new(ErrorKind::Connect, "the connection attempt timed out"));
            }
        };
        if response.status != StatusCode::OK || !is_stream(&response) {
            return self.on_response(response).await;
        }
        let mut parser = Parser::default();
        let mut messages = Vec::new();
        loop {
            let chunk = tokio::select! {
                chunk = timeout(SILENCE_TIMEOUT, response.chunk()) => chunk,
                () = at(self.join_deadline()) => return join_timed_out(),
                () = self.wake.notified() => {
                    if self.buffer.is_abandoned() {
                        return NextStep::Abandoned;
                    }
                    continue;
                }
            };
            let bytes = match chunk {
                Ok(Some(Ok(bytes))) => bytes,
                // An end without a `reconnect` frame is normal: servers and proxies bound the lifetime of streams.
                _ => return NextStep::RetryAfter(parser.retry().unwrap_or_default()),
            };
            if parser.read(&bytes, &mut messages).is_err() {
                return NextStep::RetryAfter(Duration::ZERO);
            }
            for message in messages.drain(..) {
                if !self.wait_until_fits(&message).await {
                    return NextStep::Abandoned;
                }
                match self.message(message, since.as_ref(), stream_status) {
                    Some(NextStep::Reopen) => {
                        drop(response);
                        return self.wait_for_drain().await;
                    }
                    Some(next) => return next,
                    None => {}
                }
            }
        }
    }

    /// Returns the deadline of the first join; `None` once the join was answered.
    fn join_deadline(&self) -> Option<Instant> {
        self.first.as_ref().map(|_| self.started + self.config.deadline)
    }

    /// Waits until the buffer has space for `message`, reading nothing meanwhile, which puts backpressure on the
    /// server. Returns false if the reader was dropped. Returns at once for an ephemeral event, which may be skipped.
    async fn wait_until_fits(&self, message: &Message) -> bool {
        let Message { event, data } = message;
        // An upper bound of the item's size: the frame's overhead besides its texts is smaller than the item's.
        let bytes = data.len().saturating_add(128);
        let is_kept = || match event.as_str() {
            "dialogue:presence" => true,
            event if event.starts_with("dialogue:") => false,
            _ => read_event(data)
                .map_or_else(|unreadable| unreadable.seq, |event_frame| event_frame.seq)
                .is_some(),
        };
        if self.buffer.fits(bytes) || !is_kept() {
            return true;
        }
        while !self.buffer.fits(bytes) {
            if self.buffer.is_abandoned() {
                return false;
            }
            self.wake.notified().await;
        }
        true
    }

    /// Waits, after an overflow closed the stream, until the buffer has space to resume where it stopped.
    async fn wait_for_drain(&self) -> NextStep {
        while self.buffer.overflowed() && !self.buffer.can_resume() {
            if self.buffer.is_abandoned() {
                return NextStep::Abandoned;
            }
            self.wake.notified().await;
        }
        NextStep::Reopen
    }

    async fn open(&self, since: Option<&Position>) -> Result<Response, Error> {
        let mut target = format!("/events?room={}", encode(&self.room));
        for event in self.events.iter().flatten() {
            target.push_str("&event=");
            target.push_str(&encode(event));
        }
        let mut headers = self.endpoint.headers().await?;
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(since) = since {
            let id = last_event_id(&self.room, since);
            let id = HeaderValue::from_str(&id).map_err(|error| {
                Error::caused(ErrorKind::Decode, "write the position into the `Last-Event-ID` header", error)
            })?;
            headers.insert("last-event-id", id);
        }
        get(&self.endpoint.address, &target, headers).await
    }

    /// Handles a request without a response.
    fn on_connect_error(&mut self, error: Error) -> NextStep {
        tracing::debug!(room = %self.room, %error, "opening the stream failed");
        match error.kind() {
            ErrorKind::Address | ErrorKind::Decode => NextStep::End(Interruption::Ended(error)),
            _ => NextStep::RetryAfter(Duration::ZERO),
        }
    }

    /// Handles a response that is not an event stream.
    async fn on_response(&mut self, response: Response) -> NextStep {
        let status = response.status.as_u16();
        let after = response.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let refusal = timeout(self.config.connect_timeout, response.refusal()).await.ok().flatten();
        let after = refusal
            .as_ref()
            .and_then(|refusal| refusal.retry_after)
            .or(after.map(Duration::from_secs))
            .unwrap_or_default();
        // A proxy answered, for example while its server restarts. The room was joined before, so this is retried.
        if refusal.is_none() && self.first.is_none() {
            return NextStep::RetryAfter(after);
        }
        self.refused(status, refusal, after)
    }

    /// Handles a refusal of the room, received as an HTTP status or in a stream that ends with it.
    fn refused(&mut self, status: u16, refusal: Option<Refusal>, after: Duration) -> NextStep {
        if status == 401 {
            return self.unauthenticated(refusal, status);
        }
        let since = *self.refused.get_or_insert_with(Instant::now);
        let busy = matches!(&refusal, Some(Refusal { code: Code::RoomFull | Code::TooMany, .. }));
        let may_retry = self.first.is_none() && since.elapsed() < self.config.deadline;
        if status == 429 || status >= 500 || (busy && may_retry) {
            return NextStep::RetryAfter(after);
        }
        NextStep::End(Interruption::Ended(response_error(status, refusal)))
    }

    fn unauthenticated(&mut self, refusal: Option<Refusal>, status: u16) -> NextStep {
        self.rejected = self.rejected.saturating_add(1);
        let again = match self.endpoint.source() {
            // The key that signed the anonymous token may have been lost in a restart of the server.
            TokenSource::None => self.endpoint.forget_anonymous(),
            TokenSource::Fixed => false,
            TokenSource::Renewable => self.rejected < MAX_TOKEN_ATTEMPTS,
        };
        if again {
            return NextStep::RetryAfter(Duration::ZERO);
        }
        NextStep::End(Interruption::Ended(match refusal {
            Some(refusal) if self.endpoint.has_no_credentials() => Error::token_wanted(refusal),
            refusal => response_error(status, refusal),
        }))
    }

    /// Handles one message; returns `None` if the stream continues.
    fn message(
        &mut self,
        message: Message,
        since: Option<&Position>,
        stream_status: &mut StreamStatus,
    ) -> Option<NextStep> {
        let Message { event, data } = message;
        match event.as_str() {
            "dialogue:joined" => self.joined(read::<frame::Joined<'static>>(&data)?, since, stream_status),
            "dialogue:history" => self.membership.history(read(&data)?),
            "dialogue:presence" => self.membership.presence(read(&data)?),
            "dialogue:skipped" => self.buffer.skip(read::<frame::Skipped<'static>>(&data)?.count),
            "dialogue:left" => {
                return Some(NextStep::End(Interruption::Left {
                    reason: read::<frame::Left<'static>>(&data)?.reason.map(Cow::into_owned),
                }));
            }
            "dialogue:reconnect" => {
                let after = read::<frame::Reconnect>(&data)?.after_ms;
                return Some(NextStep::RetryAfter(Duration::from_millis(after)));
            }
            "dialogue:error" => return self.error(read::<frame::Error<'static>>(&data)?.into()),
            event if event.starts_with("dialogue:") => {}
            _ => {
                let now = self.started.elapsed();
                return match self.membership.event(now, read_event(&data)) {
                    InsertOutcome::Inserted | InsertOutcome::Duplicate => None,
                    InsertOutcome::Overflow | InsertOutcome::Conflict => Some(NextStep::Reopen),
                };
            }
        }
        // A presence change that did not fit also reopens the stream.
        self.buffer.overflowed().then_some(NextStep::Reopen)
    }

    fn joined(
        &mut self,
        frame: frame::Joined<'static>,
        since: Option<&Position>,
        stream_status: &mut StreamStatus,
    ) {
        if frame.room_id != *self.room {
            return;
        }
        stream_status.enter(StreamState::Open);
        // An unsolicited `joined` announces another log; the position then is that of the last event received.
        let since = if self.joined { self.membership.since().cloned() } else { since.cloned() };
        self.joined = true;
        self.backoff.reset();
        self.rejected = 0;
        self.refused = None;
        let first = self.first.take();
        let joined = self.membership.joined(frame, since, first.is_some());
        if let Some(first) = first {
            // The caller of the join may have dropped its future; the buffer is then marked as abandoned.
            let _sent = first.send(Ok(Reply::Joined(joined)));
        }
    }

    fn error(&mut self, refusal: Refusal) -> Option<NextStep> {
        match refusal.code {
            Code::Unauthenticated => Some(self.unauthenticated(Some(refusal), 401)),
            Code::PermissionDenied | Code::JoinDenied | Code::RoomNotFound => {
                Some(NextStep::End(Interruption::Ended(Error::refused(refusal))))
            }
            code if self.joined => {
                tracing::debug!(?code, room = %self.room, "the server sent an error");
                None
            }
            // Transient failures arrive in a stream, since browsers only reconnect after one.
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

fn join_timed_out() -> NextStep {
    let late = Error::new(ErrorKind::Deadline, "the server did not respond before the deadline");
    NextStep::End(Interruption::Ended(late))
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Parses a frame; an unreadable one is logged and ignored.
fn read<T: DeserializeOwned>(data: &str) -> Option<T> {
    serde_json::from_str(data)
        .inspect_err(|error| tracing::debug!(%error, "ignored an unreadable frame"))
        .ok()
}

/// Formats a position as the stream's event id: `chat=k2f9.42.EVENTID`.
fn last_event_id(room: &str, position: &Position) -> String {
    format!("{}={}.{}.{}", encode(room), encode(&position.epoch), position.seq, encode(&position.event_id))
}
