//! The task that drives a room instance: it runs the inbox's commands one at a time and ends when the inbox is empty.

mod catch_up;
mod change;
mod effects;
mod probe;
mod publish;
mod read;
mod receive;
mod store_operation;

use std::sync::Arc;

use probe::check_log_exists;
use publish::ensure_in_catalog;

use crate::{
    Refusal,
    live::{
        LiveRoom,
        archive::Archive,
        command::{Reply, RoomCommand},
        delivery::{Batch, ReplyQueue},
        room::RoomCore,
    },
    log::NotAppended,
    store::Append,
};

/// The driver of a room instance. It owns the core while it runs; an append awaits the store here, so that the next
/// commands gather into one batch meanwhile (group commit).
pub(in crate::live) struct RoomDriver {
    pub(in crate::live) instance: Arc<LiveRoom>,
    pub(in crate::live) core: Option<Box<RoomCore>>,
    replies: ReplyQueue,
    /// Set once the store was probed for the current group of commands.
    has_probed: bool,
}

/// Recipients that are written to before the task yields to others.
const MAX_RECIPIENTS_PER_YIELD: usize = 256;
/// Bytes of payloads after which a batch is committed.
const MAX_BATCH_BYTES: usize = 128 << 10;

impl RoomDriver {
    /// Runs commands until the inbox is empty.
    pub(in crate::live) async fn run(instance: Arc<LiveRoom>) {
        let Some(core) = instance.core.lock().take() else { return };
        let mut driver =
            RoomDriver { instance, core: Some(core), replies: ReplyQueue::default(), has_probed: false };
        let mut commands = Vec::new();
        while driver.next_commands(&mut commands) {
            driver.instance.inbox_space.notify_waiters();
            driver.set_time();
            driver.has_probed = false;
            for command in commands.drain(..) {
                if driver.core.as_ref().is_some_and(|core| core.is_probe_due()) {
                    driver.commit_pending().await;
                    // Boxed, as everything that only stores need: most drivers run for a single event.
                    Box::pin(driver.probe_store()).await;
                    driver.carry_out();
                }
                match command {
                    RoomCommand::Publish(publish) => {
                        let Some(core) = &mut driver.core else { return };
                        if core.accept(publish) > MAX_BATCH_BYTES {
                            driver.commit_pending().await;
                        }
                        driver.carry_out();
                    }
                    RoomCommand::Change(change) => {
                        // A join's position then includes the events that were accepted before.
                        driver.commit_pending().await;
                        driver.change(change);
                    }
                    RoomCommand::Read(read) => {
                        driver.commit_pending().await;
                        driver.carry_out();
                        driver.read(read);
                    }
                    RoomCommand::Store(operation) => Box::pin(driver.operate(operation)).await,
                    #[cfg(test)]
                    RoomCommand::Pause(begun, resume) => {
                        begun.send(()).expect("the test waits");
                        // It is dropped.
                        let _ = resume.await;
                    }
                    #[cfg(test)]
                    RoomCommand::Run(f) => {
                        driver.commit_pending().await;
                        let Some(core) = &mut driver.core else { return };
                        let reply = f(core);
                        driver.carry_out();
                        driver.flush_replies();
                        reply();
                    }
                }
            }
            driver.commit_pending().await;
            driver.carry_out();
        }
    }

    /// Sets the time of what the core does next: it is read for each group of commands, and after what takes time.
    pub(in crate::live) fn set_time(&mut self) {
        if let Some(core) = &mut self.core {
            core.set_time(self.instance.clock.now());
        }
    }

    /// Queues the replies of the last command, then carries out its effects.
    pub(super) fn carry_out(&mut self) {
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

    /// Probes the store, once for all that request it in a group of commands: many clients may reconnect at once.
    async fn probe_once(&mut self) {
        if !std::mem::replace(&mut self.has_probed, true) {
            self.probe_store().await;
        }
    }

    /// Takes the queued commands; puts the core back and returns `false` if there are none.
    fn next_commands(&mut self, commands: &mut Vec<RoomCommand>) -> bool {
        let mut inbox = self.instance.inbox.lock();
        if !inbox.commands.is_empty() {
            inbox.bytes = 0;
            std::mem::swap(&mut inbox.commands, commands);
            return true;
        }
        let (mut loses_log, mut is_evictable) = (false, false);
        inbox.running = false;
        // A burst may have grown the buffer; an idle room keeps none.
        inbox.commands = Vec::new();
        if let Some(mut core) = self.core.take() {
            core.free_buffers();
            is_evictable = self.instance.note_activity(&core);
            inbox.closed |= core.should_close(self.instance.is_in_use());
            loses_log = core.loses_log();
            *self.instance.core.lock() = Some(core);
        }
        let closed = inbox.closed;
        drop(inbox);
        if (closed || is_evictable)
            && let Some(registry) = self.instance.registry.upgrade()
        {
            if closed {
                registry.remove(&self.instance, loses_log);
            } else {
                registry.scans.note(&self.instance.id);
            }
        }
        false
    }

    /// Commits the pending batch: appends it to the store, if there is one, acknowledges its senders and delivers it to
    /// all subscriptions.
    pub(in crate::live) async fn commit_pending(&mut self) {
        let Some(core) = &mut self.core else { return };
        let Some(mut pending) = core.take_pending() else { return self.flush_replies() };
        if core.is_clustered() {
            Box::pin(self.publish(pending)).await;
            self.set_time();
            // Refused senders have queued replies.
            return self.flush_replies();
        }
        if let Some(archive) = self.instance.archive() {
            let stored = match core.take_append(&mut pending) {
                Some(append) => Box::pin(append_to_store(core, &self.instance, archive, append)).await,
                // An append would have shown whether the store still has the log.
                None if pending.repeats() => Box::pin(check_log_exists(core, &self.instance, archive)).await,
                None => Ok(()),
            };
            core.set_time(self.instance.clock.now());
            if stored.is_err() {
                match core.refuse_pending(pending) {
                    Some(rest) => pending = rest,
                    None => return self.flush_replies(),
                }
            }
        }
        let batch = core.commit(pending);
        self.deliver(batch).await;
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
    pub(in crate::live) fn deliver(&mut self, batch: Batch) -> impl Future<Output = ()> + Send {
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

/// Appends to the store, after a record of the room is in its catalog.
async fn append_to_store(
    core: &mut RoomCore,
    instance: &Arc<LiveRoom>,
    archive: &Archive,
    append: Append,
) -> Result<(), ()> {
    // On failure, the append was not begun.
    if !ensure_in_catalog(core, instance, archive).await {
        return Err(());
    }
    archive.journal.append(append).await.map_err(|error| match error {
        NotAppended::Untouched => {}
        NotAppended::Unknown(error) => {
            if error.is_conflict() {
                tracing::warn!(room_id = &*instance.id, %error, "the store has events of a room that another process appended");
            }
            core.mark_uncertain(instance.clock.now());
        }
    })
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
                    let refusal = Refusal::new(crate::Code::Internal, "internal error");
                    publish.refuse(&self.instance.room.meter, refusal);
                }
            }
            self.instance.inbox_space.notify_waiters();
            core.refuse_all_held();
            core.drain_replies().for_each(|(reply, outcome)| self.replies.push(reply, outcome));
            self.replies.flush();
            core.fail_connections();
            self.instance.carry_out(&mut core);
            if let Some(registry) = self.instance.registry.upgrade() {
                registry.remove(&self.instance, self.instance.archive().is_none());
            }
        }
    }
}
