//! What the end-to-end tests share: real servers on free ports of this machine, which end with the test, and lines to them
//! that can be cut. The tests are beside it, over real sockets, servers and browsers.

mod folder;
mod instance;
mod lines;
mod proxy;
mod redis;
mod socket;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Mutex,
    time::Duration,
};

use socket2::{Domain, Socket as Port, Type};

pub use instance::{Instance, example};
pub use lines::{Lines, hear_every_thread};
pub use proxy::Proxy;
pub use redis::{Certificates, EPOCH, RedisCluster, RedisServer, Watched, appends, event, seqs};
pub use socket::{Socket, Wire, connect, is_refused, position};

/// What a test comes to.
pub type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// How long anything that should happen may take, on a machine that has more to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `future`, and says what was waited for if it comes late or not at all: [`deadline::within`].
///
/// # Errors
///
/// It didn't come within [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    Ok(deadline::within(PATIENCE, what, future).await?)
}

/// Asks `check` until it says yes.
///
/// # Errors
///
/// It didn't within [`PATIENCE`].
pub async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) -> Result {
    const PACE: Duration = Duration::from_millis(20);
    soon(what, async {
        while !check().await {
            tokio::time::sleep(PACE).await;
        }
    })
    .await
}

/// A port for a server to listen on, which may end and come back there: until this process ends, the system gives it to
/// nobody else who asks for any.
///
/// # Errors
///
/// None is free.
pub fn free_port() -> Result<u16> {
    static KEPT: Mutex<Vec<Port>> = Mutex::new(Vec::new());
    // Bound and not listening, it leaves the port to whoever names it and may reuse addresses, as servers may.
    let kept = Port::new(Domain::IPV4, Type::STREAM, None)?;
    kept.set_reuse_address(true)?;
    kept.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let port = kept.local_addr()?.as_socket().ok_or("no port")?.port();
    KEPT.lock().map_err(|_| "a test failed here")?.push(kept);
    Ok(port)
}
