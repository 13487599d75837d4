//! The replays of rooms to a connection, a page each time that its queue is drained.

use std::{mem, sync::Arc};

use super::{
    super::ReplaySource,
    Outbox,
    queue::{Queue, Replay},
};
use crate::wire::frame::{self, ServerFrame};

impl Outbox {
    /// Starts a replay: each time that the queue is empty, another page is requested from `source`.
    pub(crate) fn start_replay<S: ReplaySource + 'static>(&self, source: &Arc<S>) {
        let mut queue = self.queue.lock();
        queue.replays.retain(|replay| replay.source.strong_count() > 0);
        // A replay that is under way goes on from the new position: a second request would be a second replay.
        if !queue.replays.iter().any(|replay| replay.is_from(source)) {
            let source = Arc::<S>::downgrade(source);
            queue.replays.push(Replay { source, is_requested: false });
        }
        self.on_drained(&mut queue);
    }

    /// Returns the number of replays under way.
    #[cfg(test)]
    pub(in crate::live) fn replays(&self) -> usize {
        self.queue.lock().replays.len()
    }

    /// Notes that `source` sent a page of the replay, or ended it; `more` tells whether the replay goes on.
    pub(crate) fn replay_page_sent<S: ReplaySource>(&self, source: &Arc<S>, more: bool) {
        let mut queue = self.queue.lock();
        if more {
            queue
                .replays
                .iter_mut()
                .filter(|replay| replay.is_from(source))
                .for_each(|replay| replay.is_requested = false);
        } else {
            queue.replays.retain(|replay| !replay.is_from(source));
        }
        self.on_drained(&mut queue);
    }

    /// Once the queue is drained: reports skipped events, and requests more of each replay.
    pub(super) fn on_drained(&self, queue: &mut Queue) {
        if !queue.items.is_empty() || queue.close_reason.is_some() {
            return;
        }
        queue.page = 0;
        if !queue.skipped.is_empty() {
            for (room_id, count) in mem::take(&mut queue.skipped) {
                let skipped = frame::Skipped { room_id: (&*room_id).into(), count }.encode(None);
                queue.push(self.encoding.frame(&skipped), None);
            }
            return self.write_out(queue);
        }
        for replay in queue.replays.iter_mut().filter(|replay| !replay.is_requested) {
            if let Some(source) = replay.source.upgrade() {
                replay.is_requested = true;
                source.request_page(self.id);
            }
        }
    }
}
