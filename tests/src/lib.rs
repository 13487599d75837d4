//! What the end-to-end tests share: real servers on free ports of this machine, which end with the test, and lines to them
//! that can be cut. The tests are beside it, over real sockets, servers and browsers.

mod folder;
mod instance;
mod lines;
mod proxy;
mod redis;
mod socket;

use std::{collections::BTreeSet, net::TcpListener, sync::Mutex, time::Duration};

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

/// A port that nobody listens on now, and that no other test was given: its server may not listen yet.
///
/// # Errors
///
/// None is free.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if GIVEN.lock().map_err(|_| "a test failed here")?.insert(port) {
            return Ok(port);
        }
    }
}
