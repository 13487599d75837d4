//! Serves HTTP on the connections of a listener, within bounds that nobody gets around by being slow.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use crate::engine::Limits;

/// How long to wait where the system has nothing left to accept with.
const PAUSE: Duration = Duration::from_secs(1);

/// What every connection is served by.
#[derive(Clone)]
struct Server {
    http: Builder<TokioExecutor>,
    app: TowerToHyperService<Router>,
    head_within: Duration,
    /// Whether connections are to end after the request that they are at.
    closing: watch::Receiver<bool>,
}

/// Accepts until `stop`; returns once every connection is at its end.
pub(super) async fn serve(
    app: Router,
    listener: TcpListener,
    limits: &Limits,
    stop: impl Future<Output = ()>,
) {
    let (close, closing) = watch::channel(false);
    let app = TowerToHyperService::new(app);
    let server = Server { http: builder(limits), app, head_within: limits.head_within, closing };
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => drop(connections.spawn(server.clone().connection(stream, peer))),
                Err(error) if is_of_one(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "can't accept connections at the moment");
                    sleep(PAUSE).await;
                }
            },
            // So that what has ended isn't held.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    close.send_replace(true);
    while connections.join_next().await.is_some() {}
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    // The time is counted between two requests, too.
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_within).max_buf_size(limits.head);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.ping_every)
        .keep_alive_timeout(limits.pong_within)
        .enable_connect_protocol();
    http
}

impl Server {
    async fn connection(mut self, stream: TcpStream, peer: SocketAddr) {
        // A socket that refuses the option works without.
        let _ = stream.set_nodelay(true);
        let asked = Arc::new(AtomicBool::new(false));
        let (app, seen) = (self.app, Arc::clone(&asked));
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            seen.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(ConnectInfo(peer));
            app.call(request)
        });
        let serving = self.http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(serving);
        // hyper's own time begins once it knows which HTTP is spoken.
        let late = sleep(self.head_within);
        tokio::pin!(late);
        let (mut in_time, mut closes) = (false, false);
        loop {
            tokio::select! {
                // What goes wrong is the client's to know.
                _ = serving.as_mut() => return,
                () = &mut late, if !in_time => match asked.load(Ordering::Relaxed) {
                    true => in_time = true,
                    false => return,
                },
                _ = self.closing.wait_for(|closing| *closing), if !closes => {
                    closes = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Whether only one connection can't be accepted.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
