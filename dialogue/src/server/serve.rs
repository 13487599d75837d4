//! Listening, and going down in good order.

use std::{fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host},
    time::timeout,
};

use super::{Error, Server, accept};

/// Handshakes that the system keeps waiting: with few, a crowd that comes back at once waits a second for its second
/// try.
const BACKLOG: u32 = 4_096;

impl Server {
    /// Listens for connections at `address`; port 0 picks one, which `local_addr` tells.
    ///
    /// # Errors
    ///
    /// The address is none, or it is taken.
    pub async fn bind(address: impl ToSocketAddrs + fmt::Debug) -> Result<TcpListener, Error> {
        let shown = format!("{address:?}");
        let listen = |address: SocketAddr| {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // So that a restart does not wait for the old connections to be forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        let mut last = None;
        let addresses = lookup_host(address).await.map_err(|source| Error::bind(shown.clone(), source))?;
        for address in addresses {
            match listen(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(Error::bind(address.to_string(), error)),
            }
        }
        Err(last.unwrap_or_else(|| Error::configuration(format!("{shown} is no address"))))
    }

    /// Serves `app`, which [`router`](Server::router) was merged into, at `address` until Ctrl-C or SIGTERM; then
    /// drains.
    ///
    /// # Errors
    ///
    /// The address can't be listened on.
    pub async fn serve(&self, app: Router, address: impl ToSocketAddrs + fmt::Debug) -> Result<(), Error> {
        self.listen(address).await?.serve(app).await
    }

    /// Begins to listen at `address`, for whoever wants to say so before it serves; port 0 picks one.
    ///
    /// From now on Ctrl-C and SIGTERM ask for draining: they are heeded once [`Listening::serve`] runs.
    ///
    /// # Errors
    ///
    /// The address can't be listened on.
    pub async fn listen(&self, address: impl ToSocketAddrs + fmt::Debug) -> Result<Listening, Error> {
        let stop = Signals::catch().map_err(Error::serve)?;
        let listener = Self::bind(address).await?;
        let address = listener.local_addr().map_err(Error::serve)?;
        Ok(Listening { server: self.clone(), listener, address, stop })
    }

    /// Serves `app` on `listener` until `stop`; then drains.
    ///
    /// Returns once all connections are gone, or the time that [`drain_timeout`](crate::ServerBuilder::drain_timeout)
    /// gives is over, whatever clients do.
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
            // Until the end `/health` is answered and newcomers are told, which a closed door does not.
            tokio::join!(tokio::time::sleep(OPEN), engine.drain.finished());
        });
        let draining = self.engine.drain.started();
        let gone = async {
            draining.await;
            // What is left then is left to the end of the process.
            tokio::time::sleep(self.engine.bounds.drain_timeout).await;
        };
        tokio::select! {
            () = async { served.await; self.engine.settled().await } => {}
            () = gone => {}
        }
        self.metrics.iter().for_each(|metrics| metrics.flush());
        Ok(())
    }

    /// Sends all connections away with spread delays, refuses new ones, and waits until they are gone; for
    /// applications that serve the router by themselves. `/health` answers 503 from then on.
    ///
    /// Takes as long as [`drain_timeout`](crate::ServerBuilder::drain_timeout) says at most.
    pub async fn drain(&self) {
        self.engine.drain.start();
        // What is left then is left to the end of the process.
        let _ = timeout(self.engine.bounds.drain_timeout, self.engine.settled()).await;
        self.metrics.iter().for_each(|metrics| metrics.flush());
    }
}

/// How long an instance that drains still answers newcomers.
const OPEN: Duration = Duration::from_millis(1_500);

/// A server that listens: see [`Server::listen`].
#[derive(Debug)]
#[must_use = "nothing is served until `serve` is called"]
pub struct Listening {
    server: Server,
    listener: TcpListener,
    address: SocketAddr,
    stop: Signals,
}

impl Listening {
    /// Where.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves `app` until Ctrl-C or SIGTERM; then drains.
    ///
    /// # Errors
    ///
    /// The listener fails.
    pub async fn serve(self, app: Router) -> Result<(), Error> {
        let Listening { server, listener, mut stop, .. } = self;
        server.serve_until(app, listener, async move { stop.any().await }).await
    }
}

/// What asks a process to end: caught from when this is made.
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
        // Where it can't be caught, it ends the process by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
