//! The worker of one provider: takes fan-outs from the scheduler, and makes the attempts for their devices.
//!
//! Up to 64 fan-outs advance in turn, one device each (round robin), so that a big room doesn't delay a small one.
//! First attempts go before retries, which have a part of the send slots.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    AnyProvider,
    attempt::AttemptOutcome,
    context::PushContext,
    counts::PushCounters,
    cursor::{DeviceCursor, PageGuard, QueuePermit},
    fanout::Fanout,
    job::PushJob,
    retry_queue::RetryQueue,
    slots::SendSlots,
};
use crate::store::StoreError;

/// The task that sends through one provider.
pub(super) struct ProviderWorker {
    context: Arc<PushContext>,
    provider: Arc<dyn AnyProvider>,
    counters: Arc<PushCounters>,
    commands: mpsc::Receiver<WorkerCommand>,
    /// The fan-outs with first attempts to begin; the front one is next.
    cursors: VecDeque<DeviceCursor>,
    /// Fan-outs whose first attempts have all begun, and not all finished.
    finishing: Vec<DeviceCursor>,
    retries: RetryQueue,
    attempts: JoinSet<FinishedAttempt>,
    /// The number of retries among the attempts in flight.
    retries_in_flight: Arc<AtomicUsize>,
    /// Set if the attempt that began last is a retry.
    was_last_retry: bool,
    slots: Arc<SendSlots>,
    /// No attempt begins before this time.
    paused_until: Instant,
    /// The number of [`Throttled`](super::SendOutcome::Throttled) outcomes since the last push that the provider took.
    /// While it isn't 0, one attempt at a time probes the provider.
    consecutive_throttles: u32,
}

/// A command of the scheduler to a worker.
pub(super) enum WorkerCommand {
    /// Makes first attempts for the devices of a fan-out, behind the key `after` if a process before came so far.
    Start { fanout: Arc<Fanout>, after: Option<String>, permit: QueuePermit },
    /// Goes on with a job that another process began.
    Resume(PushJob),
}

struct FinishedAttempt {
    job: PushJob,
    outcome: AttemptOutcome,
    /// The guard of the device's page, if it was a first attempt.
    page: Option<Arc<PageGuard>>,
}

/// Counts one retry as in flight until it is dropped.
struct RetryGuard(Arc<AtomicUsize>);

/// The maximum of fan-outs that advance in turn; the others stay in the channel.
const MAX_CURSORS: usize = 64;
/// The time for which the store is left alone after an error.
const STORE_BACKOFF: Duration = Duration::from_secs(1);
/// The first pause of a worker whose provider throttles, which may concern one device only. It doubles each time.
const FIRST_THROTTLE_PAUSE: Duration = Duration::from_secs(2);
/// Retries have one in this many of the send slots while there are first attempts to make …
const RETRY_SHARE_BESIDE_FIRST: usize = 8;
/// … and one in this many while there are none.
const RETRY_SHARE_ALONE: usize = 2;

impl ProviderWorker {
    pub(super) fn new(
        context: Arc<PushContext>,
        provider: Arc<dyn AnyProvider>,
        counters: Arc<PushCounters>,
        commands: mpsc::Receiver<WorkerCommand>,
    ) -> Self {
        let known = Arc::clone(&provider);
        let is_known = move |origin: &str| known.is_known_origin(origin);
        ProviderWorker {
            slots: Arc::new(SendSlots::new(provider.concurrency(), is_known)),
            context,
            provider,
            counters,
            commands,
            cursors: VecDeque::new(),
            finishing: Vec::new(),
            retries: RetryQueue::default(),
            attempts: JoinSet::new(),
            retries_in_flight: Arc::default(),
            was_last_retry: false,
            paused_until: Instant::now(),
            consecutive_throttles: 0,
        }
    }

    /// Runs until the scheduler is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let wake_at = self.begin_attempts().await;
            let is_full = self.cursors.len() >= MAX_CURSORS;
            let sleeping = async {
                match wake_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(finished) = self.attempts.join_next(), if !self.attempts.is_empty() => {
                    match finished {
                        Ok(FinishedAttempt { job, outcome, page }) => {
                            self.conclude(job, outcome).await;
                            drop(page);
                            self.finishing.retain_mut(|cursor| !cursor.report(self.provider.name()));
                        }
                        // An application's provider or hook panicked; the panic hook has logged it.
                        Err(_) => self.counters.count_rejected(),
                    }
                    self.context.in_flight.fetch_sub(1, Ordering::AcqRel);
                }
                command = self.commands.recv(), if !is_full => match command {
                    Some(WorkerCommand::Start { fanout, after, permit }) => {
                        self.cursors.push_back(DeviceCursor::new(fanout, after, permit));
                    }
                    Some(WorkerCommand::Resume(job)) => self.resume(job).await,
                    // The server is dropped. With a store that outlives it, another process goes on.
                    None => return,
                },
                () = self.slots.changed() => {}
                () = sleeping => {}
            }
        }
    }

    /// Begins attempts while there are slots; returns the time at which to try again, if time alone can change
    /// anything.
    async fn begin_attempts(&mut self) -> Option<Instant> {
        while self.has_slot() {
            if self.context.is_draining.load(Ordering::Acquire) {
                return None;
            }
            let now = Instant::now();
            if self.paused_until > now {
                return Some(self.paused_until);
            }
            let due = self.retries.due();
            let is_due = due.is_some_and(|at| at <= now);
            if is_due
                && self.may_retry()
                && let Some(job) = self.retries.pop()
            {
                self.was_last_retry = true;
                self.spawn_attempt(job, None);
                continue;
            }
            self.was_last_retry = false;
            if self.cursors.is_empty() {
                // A retry that is due, and has no slot, begins when one in flight ends.
                return due.filter(|_| !is_due);
            }
            match self.next_device().await {
                Ok(Some((job, page))) => self.spawn_attempt(job, Some(page)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "can't read devices from the store; pushes wait");
                    self.paused_until = now + STORE_BACKOFF;
                }
            }
        }
        None
    }

    /// Returns whether one more attempt may begin.
    fn has_slot(&self) -> bool {
        match self.consecutive_throttles {
            0 => self.slots.has_free(self.attempts.len()),
            _ => self.attempts.is_empty(),
        }
    }

    /// Returns whether the next attempt may be a retry. First attempts never wait for retries: they have most of the
    /// slots, and every second attempt where there are few.
    fn may_retry(&self) -> bool {
        let (share, is_turn) = match self.cursors.is_empty() {
            true => (RETRY_SHARE_ALONE, true),
            false => (RETRY_SHARE_BESIDE_FIRST, !self.was_last_retry),
        };
        let max_retries = (self.provider.concurrency() / share).max(1);
        is_turn && self.retries_in_flight.load(Ordering::Acquire) < max_retries
    }

    /// Returns the next device of the front fan-out, which then goes to the back.
    async fn next_device(&mut self) -> Result<Option<(PushJob, Arc<PageGuard>)>, StoreError> {
        let Some(mut cursor) = self.cursors.pop_front() else { return Ok(None) };
        let name = self.provider.name();
        let next = match cursor.is_superseded() {
            true => Ok(None),
            false => cursor.next(&self.context.devices, name).await,
        };
        let is_finished = cursor.report(name);
        match next {
            Ok(None) if is_finished => {}
            Ok(None) => self.finishing.push(cursor),
            Ok(Some(_)) | Err(_) => self.cursors.push_back(cursor),
        }
        next
    }

    fn spawn_attempt(&mut self, mut job: PushJob, page: Option<Arc<PageGuard>>) {
        let (context, provider) = (Arc::clone(&self.context), Arc::clone(&self.provider));
        let slots = Arc::clone(&self.slots);
        let retry = (job.attempts > 0).then(|| RetryGuard::new(&self.retries_in_flight));
        context.in_flight.fetch_add(1, Ordering::AcqRel);
        self.attempts.spawn(async move {
            let outcome = job.attempt(&context, &slots, &*provider).await;
            drop(retry);
            FinishedAttempt { job, outcome, page }
        });
    }

    async fn conclude(&mut self, mut job: PushJob, mut outcome: AttemptOutcome) {
        if let AttemptOutcome::Throttled(at) = outcome {
            self.pause(at);
        }
        if matches!(outcome, AttemptOutcome::Retry(_) | AttemptOutcome::Throttled(_))
            && !self.may_wait(&mut job)
        {
            outcome = AttemptOutcome::Expired;
        }
        if matches!(
            outcome,
            AttemptOutcome::Delivered
                | AttemptOutcome::Forgotten
                | AttemptOutcome::Suspended
                | AttemptOutcome::Rejected
        ) {
            self.consecutive_throttles = 0;
        }
        self.counters.count(&outcome);
        match outcome {
            AttemptOutcome::Retry(at) | AttemptOutcome::Throttled(at) => self.record_and_wait(at, job).await,
            AttemptOutcome::StoreUnavailable => {
                self.paused_until = self.paused_until.max(Instant::now() + STORE_BACKOFF);
                self.retries.push(self.paused_until, job);
            }
            _ => {
                if let Some(pending) = self.context.pending.as_ref().filter(|_| job.is_recorded) {
                    pending.remove_retry(&job).await;
                }
            }
        }
    }

    /// Goes on with a job that another process began. A job with a reservation waits for its retry without being
    /// counted in the queue's bounds, since the scheduler bounds resumed jobs. One without is given up.
    async fn resume(&mut self, job: PushJob) {
        if job.reservation.is_some() {
            return self.retries.push(Instant::now(), job);
        }
        let is_superseded = job.fanout.is_superseded();
        let outcome = if is_superseded { AttemptOutcome::Cancelled } else { AttemptOutcome::Expired };
        self.conclude(job, outcome).await;
    }

    /// Puts a job into the retry queue, and records it so that a restart goes on with it.
    async fn record_and_wait(&mut self, at: Instant, mut job: PushJob) {
        if let Some(pending) = &self.context.pending {
            pending.put_retry(&job).await;
            job.is_recorded = true;
        }
        self.retries.push(at, job);
    }

    /// Reserves memory for a job's retry; returns whether there is any, and a place in the retry queue.
    fn may_wait(&self, job: &mut PushJob) -> bool {
        let origin = job.origin.as_ref();
        let reservation =
            job.reservation.take().filter(|reservation| reservation.is_of_origin() == origin.is_some());
        job.reservation = reservation.or_else(|| job.fanout.reserve(&self.context.retry_budget, origin));
        let may_wait = job.reservation.is_some() && self.retries.admits(job);
        if !may_wait {
            let reason = "too many pushes wait for another attempt";
            self.context.log.warn(self.provider.name(), "a push is given up", reason);
        }
        may_wait
    }

    /// Begins no attempt until the pause is over, at most until `until`.
    fn pause(&mut self, until: Instant) {
        let now = Instant::now();
        // The outcomes of attempts that were in flight when the pause began don't lengthen it.
        if self.paused_until <= now {
            let pause = FIRST_THROTTLE_PAUSE.saturating_mul(1 << self.consecutive_throttles.min(16));
            self.consecutive_throttles += 1;
            self.paused_until = until.min(now + pause);
        }
    }
}

impl RetryGuard {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        RetryGuard(Arc::clone(count))
    }
}

impl Drop for RetryGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
