//! What follows once the queue of an outbox is drained.

use std::mem;

use super::{Outbox, queue::Queue};
use crate::wire::frame::{self, ServerFrame};

impl Outbox {
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
