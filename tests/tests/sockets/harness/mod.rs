//! Servers, and clients that share no code with ours: what the tests are told in.

mod running;
mod stream;

use std::time::Duration;

pub(crate) use dialogue_tests::{Instance, Socket, connect, is_refused};
pub(crate) use running::{
    Acme, AcmeClient, AcmeServer, HOUR, Message, Noise, Price, Running, ask, post, small_window,
};
use serde_json::Value;
pub(crate) use stream::Stream;

pub(crate) type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// How long anything that should happen may take, on a machine that has more to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `future`, and says what was waited for if it comes late or not at all.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    Ok(deadline::within(PATIENCE, what, future).await?)
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

/// The numbers of events.
pub(crate) fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().filter_map(|event| event["seq"].as_u64()).collect()
}

/// What events of type [`Message`] say.
pub(crate) fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["data"]["text"].as_str()).collect()
}
