//! Serves HTTP on the connections of a listener, within bounds that a slow client can't get around.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, response::Response};
use http::{
    HeaderValue,
    header::{CONNECTION, CONTENT_TYPE},
};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    answer::{Answer, HASTE, Streams},
    reserve::Reserve,
};
use crate::{
    engine::{Engine, Responses, ServerBounds},
    gate::ConnectionPermit,
    tcp::{ConnectionActivity, ConnectionTimeouts, DeadlineStatus, ScarceDescriptors, TcpConnection},
};

/// How long to wait where the system has nothing left to accept with, and the reserve is in use.
const PAUSE: Duration = Duration::from_millis(100);
/// From one line in the log to the next that nothing can be accepted.
const LOG_EVERY: Duration = Duration::from_secs(1);
/// How long a connection may take that was accepted with a descriptor of the reserve, and its head.
const SCARCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(250));

/// What every connection is served by.
#[derive(Clone)]
struct Server {
    app: TowerToHyperService<Router>,
    bounds: Arc<ServerBounds>,
    responses: Arc<Responses>,
    patience: ConnectionTimeouts,
    phase: watch::Receiver<Phase>,
}

/// The state that all connections follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Phase {
    /// End after the request that is being answered.
    closing: bool,
    /// How often descriptors ran out: each time, idle connections give theirs back.
    shortages: u64,
}

/// Accepts until `stop`; returns once every connection is at its end.
pub(super) async fn serve(
    app: Router,
    listener: TcpListener,
    engine: &Engine,
    stop: impl Future<Output = ()>,
) {
    let bounds = Arc::new(engine.bounds.clone());
    let (phases, phase) = watch::channel(Phase { closing: false, shortages: 0 });
    let patience = ConnectionTimeouts {
        head: bounds.header_read_timeout,
        idle: bounds.idle_timeout,
        response: bounds.response_stall_timeout,
        stream: bounds.stall_timeout().max(bounds.response_stall_timeout),
    };
    let server = Server {
        app: TowerToHyperService::new(app),
        bounds,
        responses: Arc::clone(&engine.responses),
        patience,
        phase,
    };
    let mut connections = JoinSet::new();
    let mut reserve = Reserve::default();
    let mut logged: Option<Instant> = None;
    reserve.fill();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // A refused connection is closed without an answer: browsers come back from that, even for event
                    // streams.
                    let Ok(place) = engine.doors.acquire_tcp(peer.ip()) else { continue };
                    let server = server.clone();
                    match reserve.fill() {
                        true => connections.spawn(server.connection(stream, peer, place)),
                        false => connections.spawn(server.scarce(stream, peer, place)),
                    };
                }
                Err(error) if is_of_one(&error) => {}
                Err(error) => {
                    if logged.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
                        logged = Some(Instant::now());
                        tracing::error!(%error, "can't accept connections at the moment");
                        phases.send_modify(|phase| phase.shortages += 1);
                    }
                    if !reserve.lend() {
                        tokio::select! {
                            () = &mut stop => break,
                            Some(_) = connections.join_next() => drop(reserve.fill()),
                            () = sleep(PAUSE) => {}
                        }
                    }
                }
            },
            // So that what has ended isn't held.
            Some(_) = connections.join_next() => drop(reserve.fill()),
        }
    }
    drop((listener, reserve));
    phases.send_modify(|phase| phase.closing = true);
    while connections.join_next().await.is_some() {}
}

fn builder(bounds: &ServerBounds, streams: Streams) -> Builder<Streams> {
    let mut http = Builder::new(streams);
    // The time of a head is ours to count: hyper would count what passes between two requests, too.
    http.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(bounds.max_header_bytes);
    #[cfg(feature = "http2")]
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(bounds.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(bounds.max_http2_streams)
        .max_send_buf_size(super::answer::PIECE)
        .keep_alive_interval(bounds.ping_interval)
        .keep_alive_timeout(bounds.pong_timeout)
        .enable_connect_protocol();
    http
}

impl Server {
    /// Serves a connection that stays as long as it likes, within its deadlines.
    async fn connection(mut self, stream: TcpStream, peer: SocketAddr, place: ConnectionPermit) {
        let (tcp, traffic) =
            TcpConnection::new(stream, self.bounds.unreachable_timeout, self.patience.stream, Some(place));
        let http = builder(&self.bounds, Streams::new(&traffic, self.patience, &self.responses));
        let service = self.service(&traffic, peer, false);
        let serving = http.serve_connection_with_upgrades(TokioIo::new(tcp), service);
        tokio::pin!(serving);
        let watch = sleep_until(Instant::now() + self.patience.head);
        tokio::pin!(watch);
        let mut closes_by = None;
        loop {
            tokio::select! {
                // A busy machine may look at both late: what came in time is read before the deadline is looked at.
                biased;
                // What goes wrong is the client's to know.
                _ = serving.as_mut() => return,
                () = &mut watch => match traffic.check_deadlines(&self.hurried(), Instant::now()) {
                    DeadlineStatus::Elapsed => return,
                    // A connection of HTTP/1 ends at once by that; one of HTTP/2 may have bytes that are still on their
                    // way.
                    DeadlineStatus::Idle => match closes_by {
                        Some(by) if by <= Instant::now() => return,
                        Some(by) => watch.as_mut().reset(by),
                        None => {
                            let by = Instant::now() + self.patience.response;
                            closes_by = Some(by);
                            watch.as_mut().reset(by);
                            serving.as_mut().graceful_shutdown();
                        }
                    },
                    DeadlineStatus::Pending(then) => watch.as_mut().reset(then),
                },
                Ok(()) = self.phase.changed() => {
                    let phase = *self.phase.borrow_and_update();
                    if phase.closing {
                        serving.as_mut().graceful_shutdown();
                    } else if traffic.is_idle() {
                        return;
                    }
                }
            }
        }
    }

    /// Serves one request, and quickly: the connection has a descriptor that the next one needs. That is for health
    /// checks, and for clients that are sent away.
    async fn scarce(self, stream: TcpStream, peer: SocketAddr, place: ConnectionPermit) {
        let (tcp, traffic) =
            TcpConnection::new(stream, self.bounds.unreachable_timeout, self.patience.stream, Some(place));
        let http = builder(&self.bounds, Streams::new(&traffic, self.patience, &self.responses));
        let serving = http.serve_connection(TokioIo::new(tcp), self.service(&traffic, peer, true));
        let (whole, head) = SCARCE;
        let silent = async {
            sleep(head).await;
            if traffic.has_had_request() {
                std::future::pending().await
            }
        };
        let _ = timeout(whole, async {
            tokio::select! {
                biased;
                _ = serving => {}
                () = silent => {}
            }
        })
        .await;
    }

    /// The patience that there is now.
    fn hurried(&self) -> ConnectionTimeouts {
        match self.responses.are_many() {
            true => ConnectionTimeouts { response: self.patience.response.min(HASTE), ..self.patience },
            false => self.patience,
        }
    }

    /// Answers the requests of one connection.
    fn service(
        &self,
        traffic: &Arc<ConnectionActivity>,
        peer: SocketAddr,
        scarce: bool,
    ) -> impl Service<
        http::Request<Incoming>,
        Response = http::Response<Answer>,
        Error = Infallible,
        Future: Future<Output = Result<http::Response<Answer>, Infallible>> + Send + 'static,
    > + 'static {
        let (app, traffic) = (self.app.clone(), Arc::clone(traffic));
        service_fn(move |mut request: http::Request<Incoming>| {
            let active = traffic.begin(request.version());
            let is_http1 = request.version() < http::Version::HTTP_2;
            request.extensions_mut().insert(ConnectInfo(peer));
            if scarce {
                request.extensions_mut().insert(ScarceDescriptors);
            }
            // A socket over HTTP/2 is a stream (RFC 8441), whose reader has a stream's time.
            if request.method() == http::Method::CONNECT {
                traffic.set_streaming();
            }
            let (answering, traffic) = (app.call(request), Arc::clone(&traffic));
            async move {
                let mut response: Response = answering.await?;
                if scarce && is_http1 {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                let streams = response.headers().get(CONTENT_TYPE).is_some_and(is_event_stream);
                if streams {
                    traffic.set_streaming();
                }
                Ok(response.map(|body| Answer::new(body, active, streams)))
            }
        })
    }
}

fn is_event_stream(kind: &HeaderValue) -> bool {
    kind.as_bytes().starts_with(b"text/event-stream")
}

/// Whether only one connection can't be accepted.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
