//! Listening, serving and graceful shutdown (drain).

use std::{fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host},
    time::timeout,
};

use super::{
    Error, Server, accept,
    error::{bind_error, serve_error},
};

/// The number of connections that the system queues for `accept`. With a short queue, many clients that reconnect at
/// once lose their SYN, and retransmit it only after a second.
const LISTEN_BACKLOG: u32 = 4_096;

impl Server {
    /// Binds a listener to `address`. With port 0 the system chooses a port, which `local_addr` returns.
    ///
    /// # Errors
    ///
    /// The address can't be parsed or resolved, or the port is in use.
    pub async fn bind(address: impl ToSocketAddrs + fmt::Debug) -> Result<TcpListener, Error> {
        let shown = format!("{address:?}");
        let listen = |address: SocketAddr| {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A restarted server can bind while connections of the old process are in TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(LISTEN_BACKLOG)
        };
        let mut last = None;
        let addresses = lookup_host(address).await.map_err(|source| bind_error(&shown, source))?;
        for address in addresses {
            match listen(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(bind_error(&address.to_string(), error)),
            }
        }
        Err(last
            .unwrap_or_else(|| Error::other(format!("can't listen on {shown}: it resolves to no address"))))
    }

    /// Serves `app`, which [`router`](Server::router) was merged into, at `address` until Ctrl-C or SIGTERM, and then
    /// drains.
    ///
    /// # Errors
    ///
    /// The address can't be bound.
    pub async fn serve(&self, app: Router, address: impl ToSocketAddrs + fmt::Debug) -> Result<(), Error> {
        self.listen(address).await?.serve(app).await
    }

    /// Binds `address` without serving yet, for example to print the address first. With port 0 the system chooses a
    /// port.
    ///
    /// From this call on, Ctrl-C and SIGTERM no longer end the process: they start the drain once
    /// [`BoundServer::serve`] runs.
    ///
    /// # Errors
    ///
    /// The address can't be bound.
    pub async fn listen(&self, address: impl ToSocketAddrs + fmt::Debug) -> Result<BoundServer, Error> {
        let stop = Signals::catch().map_err(serve_error)?;
        let listener = Self::bind(address).await?;
        let address = listener.local_addr().map_err(serve_error)?;
        Ok(BoundServer { server: self.clone(), listener, address, stop })
    }

    /// Serves `app` on `listener` until `stop` completes, and then drains.
    ///
    /// Returns once all connections are closed, and at the latest after the
    /// [`drain_timeout`](crate::server::ServerBuilder::drain_timeout).
    ///
    /// # Errors
    ///
    /// The listener fails.
    pub async fn serve_until(
        &self,
        app: Router,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let engine = Arc::clone(&self.engine);
        let served = accept::serve(app, listener, &self.engine, async move {
            stop.await;
            engine.drain.start();
            // The listener stays open during the drain, so that `/health` answers 503 and new clients get a refusal.
            tokio::join!(tokio::time::sleep(MIN_DRAIN), engine.drain.finished());
        });
        let draining = self.engine.drain.started();
        let timed_out = async {
            draining.await;
            // Connections that are open after this end with the process.
            tokio::time::sleep(self.engine.bounds.drain_timeout).await;
        };
        tokio::select! {
            () = async { served.await; self.engine.drained().await } => {}
            () = timed_out => {}
        }
        self.exporters.iter().for_each(|exporter| exporter.flush());
        Ok(())
    }

    /// Drains the node: refuses new connections, sends all others to other nodes with random delays, and waits until
    /// they are closed. `/health` answers 503 from the call on. For applications that don't use [`serve`](Self::serve),
    /// which drains by itself.
    ///
    /// Returns at the latest after the [`drain_timeout`](crate::server::ServerBuilder::drain_timeout).
    pub async fn drain(&self) {
        self.engine.drain.start();
        // Connections that are open after this end with the process.
        let _ = timeout(self.engine.bounds.drain_timeout, self.engine.drained()).await;
        self.exporters.iter().for_each(|exporter| exporter.flush());
    }
}

/// The minimum time for which a draining node answers new connections.
const MIN_DRAIN: Duration = Duration::from_millis(1_500);

/// A server that is bound to an address and doesn't serve yet: see [`Server::listen`].
#[derive(Debug)]
#[must_use = "nothing is served until `serve` is called"]
pub struct BoundServer {
    server: Server,
    listener: TcpListener,
    address: SocketAddr,
    stop: Signals,
}

impl BoundServer {
    /// Returns the bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves `app` until Ctrl-C or SIGTERM, and then drains.
    ///
    /// # Errors
    ///
    /// The listener fails.
    pub async fn serve(self, app: Router) -> Result<(), Error> {
        let BoundServer { server, listener, mut stop, .. } = self;
        server.serve_until(app, listener, async move { stop.any().await }).await
    }
}

/// The signals that ask the process to terminate, caught from the creation of this value on.
#[derive(Debug)]
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn catch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(unix)]
    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn catch() -> io::Result<Self> {
        Ok(Signals {})
    }

    #[cfg(not(unix))]
    async fn any(&mut self) {
        // If Ctrl-C can't be caught, it ends the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
