//! What all instances count together.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::Subject;
use crate::Rate;

/// Counts for all instances of an application, which by themselves count each what they see:
/// [`ServerBuilder::quota`](crate::ServerBuilder::quota).
///
/// `Redis` is one (feature `redis`): `.quota(Redis::connect(url).await?)`.
///
/// Asked only for what this instance's own count let through, so that a flood at one of them is none here.
///
/// ```
/// use std::{collections::HashMap, sync::Mutex, time::{Duration, Instant}};
///
/// use dialogue::{Subject, Quota, Rate};
///
/// /// So many in all, of each client and limit.
/// #[derive(Default)]
/// struct Tally(Mutex<HashMap<String, u32>>);
///
/// impl Quota for Tally {
///     async fn take(&self, limit: &str, rate: Rate, subject: &Subject) -> Result<(), Duration> {
///         let mut tally = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
///         let taken = tally.entry(format!("{limit} {subject}")).or_default();
///         *taken += 1;
///         if *taken > 1_000 { Err(Duration::from_secs(60)) } else { Ok(()) }
///     }
/// }
/// ```
pub trait Quota: Send + Sync + 'static {
    /// Takes one of what `subject` has left of `rate`. `limit` names what is counted, on all instances alike: `requests`,
    /// `room chat`, `chat/message`.
    ///
    /// It has 1 s; after that, and while it can't tell, the client is let through, for this instance's own count did.
    ///
    /// # Errors
    ///
    /// After how long there is one.
    fn take(
        &self,
        limit: &str,
        rate: Rate,
        subject: &Subject,
    ) -> impl Future<Output = Result<(), Duration>> + Send;
}

/// [`Quota`] as the server holds it.
pub(crate) trait AnyQuota: Send + Sync {
    fn take<'a>(&'a self, limit: &'a str, rate: Rate, subject: &'a Subject) -> Taking<'a>;
}

type Taking<'a> = Pin<Box<dyn Future<Output = Result<(), Duration>> + Send + 'a>>;

impl<Q: Quota> AnyQuota for Q {
    fn take<'a>(&'a self, limit: &'a str, rate: Rate, subject: &'a Subject) -> Taking<'a> {
        Box::pin(Quota::take(self, limit, rate, subject))
    }
}

/// What the application named, if anything.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    quota: Option<Arc<dyn AnyQuota>>,
    /// Until when it isn't asked, since it didn't answer.
    silent: Arc<Mutex<Option<Instant>>>,
}

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it isn't asked again when it took longer: everybody would wait as long.
const SILENCE: Duration = Duration::from_secs(5);

impl Shared {
    pub(crate) fn new(quota: impl Quota) -> Self {
        Shared { quota: Some(Arc::new(quota)), silent: Arc::default() }
    }

    /// Whether the application named one.
    pub(super) fn is_any(&self) -> bool {
        self.quota.is_some()
    }

    /// Takes one there too.
    pub(super) async fn take(&self, limit: &str, rate: Rate, subject: &Subject) -> Result<(), Duration> {
        let Some(quota) = &self.quota else { return Ok(()) };
        if self.silent.lock().is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        timeout(PATIENCE, quota.take(limit, rate, subject)).await.unwrap_or_else(|_| {
            let before = self.silent.lock().replace(Instant::now() + SILENCE);
            // Of many who waited together, one says so.
            if before.is_none_or(|until| until <= Instant::now()) {
                tracing::warn!(limit, "the quota of all instances doesn't answer; this one counts alone");
            }
            Ok(())
        })
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("quota", &self.quota.is_some()).finish_non_exhaustive()
    }
}
