//! Rate limits that all nodes of an application enforce together.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::RateLimitKey;
use crate::Rate;

/// A counter of rate limits that all nodes of an application share. Without one, each node enforces the limits by
/// itself: see [`ServerBuilder::quota`](crate::server::ServerBuilder::quota).
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
    /// [`RateLimit::shared`](crate::middleware::RateLimit::shared).
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

/// An object-safe [`Quota`].
pub(crate) trait AnyQuota: Send + Sync {
    fn take<'a>(&'a self, limit: &'a str, rate: Rate, key: &'a RateLimitKey) -> Taking<'a>;
}

type Taking<'a> = Pin<Box<dyn Future<Output = Result<(), Duration>> + Send + 'a>>;

impl<Q: Quota> AnyQuota for Q {
    fn take<'a>(&'a self, limit: &'a str, rate: Rate, key: &'a RateLimitKey) -> Taking<'a> {
        Box::pin(Quota::take(self, limit, rate, key))
    }
}

/// The application's quota, if it set one.
#[derive(Clone, Default)]
pub(crate) struct SharedQuota {
    quota: Option<Arc<dyn AnyQuota>>,
    /// The end of the backoff after a timeout.
    suspended_until: Arc<Mutex<Option<Instant>>>,
}

const QUOTA_TIMEOUT: Duration = Duration::from_secs(1);
/// The time for which the quota is not called after a timeout: otherwise every request would wait for one.
const QUOTA_BACKOFF: Duration = Duration::from_secs(5);

impl SharedQuota {
    pub(crate) fn new(quota: impl Quota) -> Self {
        SharedQuota { quota: Some(Arc::new(quota)), suspended_until: Arc::default() }
    }

    /// Returns whether the application set a quota.
    pub(super) fn is_set(&self) -> bool {
        self.quota.is_some()
    }

    /// Counts one request in the quota.
    pub(super) async fn take(&self, limit: &str, rate: Rate, key: &RateLimitKey) -> Result<(), Duration> {
        let Some(quota) = &self.quota else { return Ok(()) };
        if self.suspended_until.lock().is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        timeout(QUOTA_TIMEOUT, quota.take(limit, rate, key)).await.unwrap_or_else(|_| {
            let before = self.suspended_until.lock().replace(Instant::now() + QUOTA_BACKOFF);
            // Of many concurrent timeouts, the first is logged.
            if before.is_none_or(|until| until <= Instant::now()) {
                tracing::warn!(
                    limit,
                    "the shared quota timed out; this node enforces its own rate limits only"
                );
            }
            Ok(())
        })
    }
}

impl std::fmt::Debug for SharedQuota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedQuota").field("quota", &self.quota.is_some()).finish_non_exhaustive()
    }
}
