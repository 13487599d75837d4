//! The jobs of one provider that wait for their next attempt, ordered by its time. Their number is bounded: in all, for
//! each origin, and for each device.

use std::{cmp::Reverse, collections::BinaryHeap, hash::Hash, sync::Arc};

use tokio::time::Instant;

use super::{device::DeviceId, job::PushJob};
use crate::collections::HashMap;

/// A priority queue of jobs by the time of their next attempt.
#[derive(Default)]
pub(super) struct RetryQueue {
    jobs: BinaryHeap<Reverse<QueuedJob>>,
    by_origin: HashMap<Arc<str>, usize>,
    by_device: HashMap<DeviceId, usize>,
    /// The number of jobs that another process began.
    resumed: usize,
}

struct QueuedJob {
    at: Instant,
    job: PushJob,
}

/// The maximum of jobs in a queue, without resumed ones.
const MAX_JOBS: usize = 100_000;
/// The maximum of resumed jobs in the queues of all providers. They don't count towards [`MAX_JOBS`].
pub(super) const MAX_RESUMED_JOBS: usize = MAX_JOBS / 2;
/// The maximum of jobs of a device. A device that is reached late has no use for more, and one that never is holds no
/// more events in memory.
const MAX_JOBS_PER_DEVICE: usize = 32;

impl RetryQueue {
    /// Returns whether a job may wait. An origin has at most as many places as are free: one whose every attempt fails
    /// leaves half of all to the others, and two leave a third.
    pub(super) fn admits(&self, job: &PushJob) -> bool {
        let of_device = self.by_device.get(&job.registration.id.device).copied().unwrap_or_default();
        let of_origin = job.origin.as_ref().and_then(|origin| self.by_origin.get(origin));
        let free = MAX_JOBS.saturating_sub(self.jobs.len() - self.resumed);
        free > of_origin.copied().unwrap_or_default() && of_device < MAX_JOBS_PER_DEVICE
    }

    pub(super) fn push(&mut self, at: Instant, job: PushJob) {
        if let Some(origin) = &job.origin {
            *self.by_origin.entry(Arc::clone(origin)).or_default() += 1;
        }
        *self.by_device.entry(job.registration.id.device.clone()).or_default() += 1;
        self.resumed += usize::from(job.resume_token.is_some());
        self.jobs.push(Reverse(QueuedJob { at, job }));
    }

    /// Returns the time of the first attempt that is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.jobs.peek().map(|Reverse(first)| first.at)
    }

    pub(super) fn pop(&mut self) -> Option<PushJob> {
        let Reverse(QueuedJob { job, .. }) = self.jobs.pop()?;
        self.resumed -= usize::from(job.resume_token.is_some());
        if let Some(origin) = &job.origin {
            decrement(&mut self.by_origin, origin);
        }
        decrement(&mut self.by_device, &job.registration.id.device);
        Some(job)
    }
}

fn decrement<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl PartialEq for QueuedJob {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for QueuedJob {}

impl PartialOrd for QueuedJob {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for QueuedJob {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
