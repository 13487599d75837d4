//! The application's [`Quota`], if it set one, within its timeout.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{Quota, Rate, RateLimitKey};

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
