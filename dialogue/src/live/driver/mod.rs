//! The task that drives a room instance: it runs the inbox's commands one at a time and ends when the inbox is empty.
//!
//! From the bottom up: `effects` carries out what the room asks for; this file has the driver's state, its replies and
//! the delivery of batches; `close` ends an instance whose log is gone, `probe` compares the log with the store, `publish`
//! and `commit` write events, `receive` and `catch_up` take those of other nodes, `change`, `read` and `store_operation`
//! execute commands, and `run` is the loop.

mod catch_up;
mod change;
mod close;
mod commit;
mod effects;
mod probe;
mod publish;
mod read;
mod receive;
mod run;
mod store_operation;

use std::sync::Arc;

pub(super) use run::{run, spawn};

use crate::{
    Code, Refusal,
    live::{
        LiveRoom,
        command::{Reply, RoomCommand},
        delivery::{Batch, ReplyQueue},
        room::RoomCore,
    },
};

/// The driver of a room instance. It owns the core while it runs; an append awaits the store here, so that the next
/// commands gather into one batch meanwhile (group commit).
pub(super) struct RoomDriver {
    instance: Arc<LiveRoom>,
    core: Option<Box<RoomCore>>,
    replies: ReplyQueue,
    /// Set once the store was probed for the current group of commands.
    has_probed: bool,
}

/// Recipients that are written to before the task yields to others.
const MAX_RECIPIENTS_PER_YIELD: usize = 256;

impl RoomDriver {
    /// Sets the time of what the core does next: it is read for each group of commands, and after what takes time.
    fn set_time(&mut self) {
        if let Some(core) = &mut self.core {
            core.set_time(self.instance.clock.now());
        }
    }

    /// Queues the replies of the last command, then carries out its effects.
    fn carry_out(&mut self) {
        self.queue_replies();
        if let Some(core) = &mut self.core {
            self.instance.carry_out(core);
        }
    }

    /// Queues the replies to the senders of events, carries out the effects of a command, and replies to its sender.
    fn answer<T>(&mut self, reply: Reply<T>, answer: T) {
        self.carry_out();
        self.flush_replies();
        // The caller may have dropped its future.
        let _ = reply.send(answer);
    }

    /// Queues the replies of the last commands, to be written together with the next events.
    fn queue_replies(&mut self) {
        if let Some(core) = &mut self.core {
            core.drain_replies().for_each(|(reply, outcome)| self.replies.push(reply, outcome));
        }
    }

    /// Writes the replies of the last commands.
    fn flush_replies(&mut self) {
        self.queue_replies();
        self.replies.flush();
    }

    /// Delivers a batch to all subscriptions: at once, or in several steps where there are many.
    fn deliver(&mut self, batch: Batch) -> impl Future<Output = ()> + Send {
        if let Some(core) = &self.core {
            self.instance.set_head(core.log().head());
        }
        self.queue_replies();
        let rest = self.deliver_slice(&batch, 0).map(|from| Box::pin(self.deliver_from(batch, from)));
        async {
            if let Some(rest) = rest {
                rest.await;
            }
        }
    }

    async fn deliver_from(&mut self, batch: Batch, mut from: usize) {
        loop {
            tokio::task::yield_now().await;
            match self.deliver_slice(&batch, from) {
                Some(next) => from = next,
                None => return self.set_time(),
            }
        }
    }

    /// Delivers a batch to some subscriptions; returns the index to go on from.
    fn deliver_slice(&mut self, batch: &Batch, from: usize) -> Option<usize> {
        let core = self.core.as_mut()?;
        let next = core.deliver(batch, from, MAX_RECIPIENTS_PER_YIELD);
        if next.is_none() {
            batch.delivered();
            self.replies.flush();
        }
        next
    }
}

impl Drop for RoomDriver {
    fn drop(&mut self) {
        // The core is still owned only if a command panicked or the runtime is shutting down: without a store its log
        // is lost, which the members must learn.
        if let Some(mut core) = self.core.take() {
            let commands = {
                let mut inbox = self.instance.inbox.lock();
                inbox.closed = true;
                std::mem::take(&mut inbox.commands)
            };
            // Senders of queued events get a refusal; those that wait for inbox space, and for results, are woken.
            for command in commands {
                if let RoomCommand::Publish(publish) = command {
                    let refusal = Refusal::new(Code::Internal, "internal error");
                    publish.refuse(&self.instance.room.meter, refusal);
                }
            }
            self.instance.inbox_space.notify_waiters();
            core.refuse_all_held();
            core.drain_replies().for_each(|(reply, outcome)| self.replies.push(reply, outcome));
            self.replies.flush();
            core.fail_connections();
            self.instance.carry_out(&mut core);
            if let Some(owner) = self.instance.owner.upgrade() {
                owner.remove(&self.instance, self.instance.archive().is_none());
            }
        }
    }
}
