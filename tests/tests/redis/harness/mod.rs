//! Real servers on free ports of this machine, which end with the test; and a line to them that can be cut.

mod certificates;
mod cluster;
mod events;
mod folder;
mod lines;
mod proxy;
mod sentinel;
mod server;

use std::time::Duration;

pub(crate) use certificates::Certificates;
pub(crate) use cluster::RedisCluster;
pub(crate) use events::{appends, event, seqs};
pub(crate) use lines::Lines;
pub(crate) use proxy::Proxy;
pub(crate) use sentinel::Watched;
pub(crate) use server::{RedisServer, free_port};

pub(crate) type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// How long anything that should happen may take, on a machine that has more to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `future`, and says what was waited for if it doesn't come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, future).await.map_err(|_| format!("{what}: not in {PATIENCE:?}").into())
}

/// Asks `check` until it says yes.
pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) -> Result {
    const PACE: Duration = Duration::from_millis(20);
    soon(what, async {
        while !check().await {
            tokio::time::sleep(PACE).await;
        }
    })
    .await
}
