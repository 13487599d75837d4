//! Rate limits that all nodes of an application enforce together.

use std::{future::Future, time::Duration};

use super::RateLimitKey;
use crate::Rate;

/// A counter of rate limits that all nodes of an application share. Without one, each node enforces the limits by
/// itself: see `ServerBuilder::quota`.
///
/// `Redis` implements it (feature `redis`): `.quota(Redis::connect(url).await?)`.
///
/// It is called only for requests that the node's own limit allows, so that a flood at one node is not a flood of
/// calls.
///
/// ```
/// use std::{collections::HashMap, sync::Mutex, time::{Duration, Instant}};
///
/// use dialogue::{Rate, limits::{Quota, RateLimitKey}};
///
/// /// At most 1,000 requests of each client and limit, ever.
/// #[derive(Default)]
/// struct Tally(Mutex<HashMap<String, u32>>);
///
/// impl Quota for Tally {
///     async fn take(&self, limit: &str, rate: Rate, key: &RateLimitKey) -> Result<(), Duration> {
///         let mut tally = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
///         let taken = tally.entry(format!("{limit} {key}")).or_default();
///         *taken += 1;
///         if *taken > 1_000 { Err(Duration::from_secs(60)) } else { Ok(()) }
///     }
/// }
/// ```
pub trait Quota: Send + Sync + 'static {
    /// Counts one request of the client `key` against `rate`. `limit` names the limit, the same on all nodes:
    /// `requests`, `http`, `devices`, `room chat`, or the name given to
    /// `RateLimit::shared`.
    ///
    /// The timeout is 1 s. After a timeout the request is allowed, as it was by the node's own limit, and the quota is
    /// not called for 5 s. An implementation that can't reach its store should also return `Ok`.
    ///
    /// # Errors
    ///
    /// The time after which the next request is allowed.
    fn take(
        &self,
        limit: &str,
        rate: Rate,
        key: &RateLimitKey,
    ) -> impl Future<Output = Result<(), Duration>> + Send;
}
