//! The client's signs of life: reads from it, and writes that it takes.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, timeout};

use super::Outbox;
use crate::wire::Encoding;

/// The time in which a connection must show a sign of life when its place in a full room depends on it.
pub(super) const LIVENESS_TIMEOUT: Duration = Duration::from_secs(2);
/// The time after [`LIVENESS_TIMEOUT`] in which a response that has arrived is read.
pub(super) const LAST_LOOK: Duration = Duration::from_millis(50);

impl Outbox {
    /// Notes whether the connection's task reads from the client at the moment.
    pub(crate) fn set_reading(&self, reads: bool) {
        self.reading_paused.store(!reads, Ordering::Relaxed);
    }

    /// Notes a read from the client.
    pub(crate) fn note_read(&self) {
        self.read_count.fetch_add(1, Ordering::Relaxed);
        self.activity.notify_waiters();
    }

    /// Notes that the writer of an event stream got a chunk that was not taken from this queue; the writer calls
    /// [`note_written`](Self::note_written) for it later.
    pub(crate) fn note_handed(&self) {
        self.queue.lock().note_handed();
    }

    /// Notes that a chunk that was [taken](Self::poll_take) or [handed over](Self::note_handed) is written.
    pub(crate) fn note_written(&self) {
        let mut queue = self.queue.lock();
        queue.handed_chunks = queue.handed_chunks.saturating_sub(1);
        queue.progress();
        drop(queue);
        self.activity.notify_waiters();
    }

    /// Returns the time for which a write has waited for the client without progress; `None` if none waits.
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        self.queue.lock().stalled_since.map(|since| since.elapsed())
    }

    /// Probes the client for a sign of life; returns whether none came within 2 s.
    ///
    /// The client of a WebSocket has to send anything, such as the pong that it owes. The client of an event stream
    /// sends nothing, and a WebSocket whose reading is paused can't be heard: these count as unresponsive if a write
    /// has waited for 2 s.
    pub(crate) async fn is_unresponsive(&self) -> bool {
        let read_count = self.read_count.load(Ordering::Relaxed);
        self.send_raw([self.encoding.probe()]);
        let until = Instant::now() + LIVENESS_TIMEOUT;
        let mut last_look = Some(LAST_LOOK);
        loop {
            let activity = self.activity.notified();
            tokio::pin!(activity);
            activity.as_mut().enable();
            if self.queue.lock().close_reason.is_some() {
                return true;
            }
            let reads = self.encoding == Encoding::WebSocket && !self.reading_paused.load(Ordering::Relaxed);
            let left = match reads {
                true if self.read_count.load(Ordering::Relaxed) != read_count => return false,
                true => match until.saturating_duration_since(Instant::now()) {
                    // A busy machine may look late at the response and at its deadline.
                    Duration::ZERO => last_look.take().unwrap_or_default(),
                    left => left,
                },
                false => match self.stalled_for() {
                    Some(stalled_since) => LIVENESS_TIMEOUT.saturating_sub(stalled_since),
                    None => return false,
                },
            };
            if left.is_zero() {
                return true;
            }
            let stirs = timeout(left, activity).await.is_ok();
            if stirs && !reads {
                return false;
            }
        }
    }
}
