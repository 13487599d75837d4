//! The HTTP server: accepts the connections of a listener and serves them with hyper, with timeouts and bounds that
//! protect it against slow clients (slowloris) and against running out of file descriptors.

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
    reserve::Reserve,
    response::{MAX_CHUNK_BYTES, PRESSURED_STALL_TIMEOUT, ResponseBody, StreamExecutor},
};
use crate::{
    channel::{
        http2,
        tcp::{ConnectionActivity, ConnectionTimeouts, DeadlineStatus, ScarceDescriptors, TcpConnection},
    },
    engine::{Engine, ResponseBudget, ServerBounds},
    limits::ConnectionPermit,
};

/// The delay before the next try to accept, when the process has no descriptors left and the reserve is in use.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// The minimum time between two log lines about failures to accept.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// The timeout of a whole connection that was accepted with a descriptor of the reserve.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of the request head on such a connection.
const RESERVE_HEAD_TIMEOUT: Duration = Duration::from_millis(250);

/// The service and settings that all connections share.
#[derive(Clone)]
struct ConnectionServer {
    app: TowerToHyperService<Router>,
    bounds: Arc<ServerBounds>,
    response_budget: Arc<ResponseBudget>,
    timeouts: ConnectionTimeouts,
    phase: watch::Receiver<ServerPhase>,
}

/// The state of the server, which all connections watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ServerPhase {
    /// Connections close after the response in progress.
    is_closing: bool,
    /// The number of times that descriptors ran out. At each, idle connections close to free theirs.
    shortages: u64,
}

/// Accepts and serves connections until `stop` completes, and returns once every connection has ended.
pub(super) async fn serve(
    app: Router,
    listener: TcpListener,
    engine: &Engine,
    stop: impl Future<Output = ()>,
) {
    let bounds = Arc::new(engine.bounds.clone());
    let (phases, phase) = watch::channel(ServerPhase { is_closing: false, shortages: 0 });
    let timeouts = ConnectionTimeouts {
        head: bounds.http.header_read_timeout,
        idle: bounds.http.idle_timeout,
        response: bounds.http.response_stall_timeout,
        stream: bounds.connections.stall_timeout().max(bounds.http.response_stall_timeout),
    };
    let server = ConnectionServer {
        app: TowerToHyperService::new(app),
        bounds,
        response_budget: Arc::clone(&engine.response_budget),
        timeouts,
        phase,
    };
    let mut connections = JoinSet::new();
    let mut reserve = Reserve::default();
    let mut logged_at: Option<Instant> = None;
    reserve.fill();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // A refused connection is closed without a response: after that, browsers reconnect even event
                    // streams.
                    let Ok(slot) = engine.admission.connection_limiter.acquire_tcp(peer.ip()) else { continue };
                    let server = server.clone();
                    match reserve.fill() {
                        true => connections.spawn(server.serve_connection(stream, peer, slot)),
                        false => connections.spawn(server.serve_one_request(stream, peer, slot)),
                    };
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    if logged_at.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
                        logged_at = Some(Instant::now());
                        tracing::error!(%error, "can't accept connections at the moment");
                        phases.send_modify(|phase| phase.shortages += 1);
                    }
                    if !reserve.lend() {
                        tokio::select! {
                            () = &mut stop => break,
                            Some(_) = connections.join_next() => drop(reserve.fill()),
                            () = sleep(ACCEPT_RETRY_DELAY) => {}
                        }
                    }
                }
            },
            // Frees the results of ended tasks.
            Some(_) = connections.join_next() => drop(reserve.fill()),
        }
    }
    drop((listener, reserve));
    phases.send_modify(|phase| phase.is_closing = true);
    while connections.join_next().await.is_some() {}
}

fn builder(bounds: &ServerBounds, streams: StreamExecutor) -> Builder<StreamExecutor> {
    let mut http = Builder::new(streams);
    // `ConnectionActivity` has the timeout of a head: hyper's would also count the idle time between two requests.
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(bounds.http.max_header_bytes);
    http2::configure(&mut http, bounds, MAX_CHUNK_BYTES);
    http
}

impl ConnectionServer {
    /// Serves a connection for as long as it meets its timeouts.
    async fn serve_connection(mut self, stream: TcpStream, peer: SocketAddr, slot: ConnectionPermit) {
        let (tcp, traffic) = TcpConnection::new(
            stream,
            self.bounds.http.unreachable_timeout,
            self.timeouts.stream,
            Some(slot),
        );
        let http = builder(&self.bounds, StreamExecutor::new(&traffic, self.timeouts, &self.response_budget));
        let service = self.service(&traffic, peer, false);
        let serving = http.serve_connection_with_upgrades(TokioIo::new(tcp), service);
        tokio::pin!(serving);
        let deadline = sleep_until(Instant::now() + self.timeouts.head);
        tokio::pin!(deadline);
        let mut closes_by = None;
        loop {
            tokio::select! {
                // A busy machine may poll both late: bytes that arrived in time are read before the deadline is
                // checked.
                biased;
                // An error concerns this client alone, and isn't logged.
                _ = serving.as_mut() => return,
                () = &mut deadline => match traffic.check_deadlines(&self.current_timeouts(), Instant::now()) {
                    DeadlineStatus::Elapsed => return,
                    // `graceful_shutdown` ends an idle HTTP/1 connection at once; on HTTP/2, frames may still be in
                    // flight.
                    DeadlineStatus::Idle => match closes_by {
                        Some(by) if by <= Instant::now() => return,
                        Some(by) => deadline.as_mut().reset(by),
                        None => {
                            let by = Instant::now() + self.timeouts.response;
                            closes_by = Some(by);
                            deadline.as_mut().reset(by);
                            serving.as_mut().graceful_shutdown();
                        }
                    },
                    DeadlineStatus::Pending(then) => deadline.as_mut().reset(then),
                },
                Ok(()) = self.phase.changed() => {
                    let phase = *self.phase.borrow_and_update();
                    if phase.is_closing {
                        serving.as_mut().graceful_shutdown();
                    } else if traffic.is_idle() {
                        return;
                    }
                }
            }
        }
    }

    /// Serves one request with short timeouts, on a connection with a descriptor of the reserve, which the next one
    /// needs. So health checks are answered, and clients are refused with a response, while the process is out of
    /// descriptors.
    async fn serve_one_request(self, stream: TcpStream, peer: SocketAddr, slot: ConnectionPermit) {
        let (tcp, traffic) = TcpConnection::new(
            stream,
            self.bounds.http.unreachable_timeout,
            self.timeouts.stream,
            Some(slot),
        );
        let http = builder(&self.bounds, StreamExecutor::new(&traffic, self.timeouts, &self.response_budget));
        let serving = http.serve_connection(TokioIo::new(tcp), self.service(&traffic, peer, true));
        let head_timeout = async {
            sleep(RESERVE_HEAD_TIMEOUT).await;
            if traffic.has_had_request() {
                std::future::pending().await
            }
        };
        let _ = timeout(RESERVE_TIMEOUT, async {
            tokio::select! {
                biased;
                _ = serving => {}
                () = head_timeout => {}
            }
        })
        .await;
    }

    /// Returns the timeouts that apply now: those of unread responses are shorter while the response budget is under
    /// pressure.
    fn current_timeouts(&self) -> ConnectionTimeouts {
        match self.response_budget.is_under_pressure() {
            true => ConnectionTimeouts {
                response: self.timeouts.response.min(PRESSURED_STALL_TIMEOUT),
                ..self.timeouts
            },
            false => self.timeouts,
        }
    }

    /// Returns the hyper service of one connection. `is_scarce` marks its requests as served with a descriptor of the
    /// reserve.
    fn service(
        &self,
        traffic: &Arc<ConnectionActivity>,
        peer: SocketAddr,
        is_scarce: bool,
    ) -> impl Service<
        http::Request<Incoming>,
        Response = http::Response<ResponseBody>,
        Error = Infallible,
        Future: Future<Output = Result<http::Response<ResponseBody>, Infallible>> + Send + 'static,
    > + 'static {
        let (app, traffic) = (self.app.clone(), Arc::clone(traffic));
        service_fn(move |mut request: http::Request<Incoming>| {
            let active = traffic.begin(request.version());
            let is_http1 = request.version() < http::Version::HTTP_2;
            request.extensions_mut().insert(ConnectInfo(peer));
            if is_scarce {
                request.extensions_mut().insert(ScarceDescriptors);
            }
            // A WebSocket over HTTP/2 is a stream (RFC 8441), and has the stall timeout of a stream.
            if request.method() == http::Method::CONNECT {
                traffic.set_streaming();
            }
            let (answering, traffic) = (app.call(request), Arc::clone(&traffic));
            async move {
                let mut response: Response = answering.await?;
                if is_scarce && is_http1 {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(is_event_stream);
                if is_stream {
                    traffic.set_streaming();
                }
                Ok(response.map(|body| ResponseBody::new(body, active, is_stream)))
            }
        })
    }
}

fn is_event_stream(kind: &HeaderValue) -> bool {
    kind.as_bytes().starts_with(b"text/event-stream")
}

/// Returns whether an error of `accept` concerns only the connection that was to be accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
