//! The task that drives a room instance: it runs the inbox's commands one at a time and ends when the inbox is empty.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    LiveRoom, archive::Archive, clock, delivery::Batch, inbox::RoomCommand, probe::check_log_exists,
    publish::ensure_in_catalog, room_core::RoomCore,
};
use crate::{Refusal, log::NotAppended, store::Append};

/// The driver of a room instance. It owns the core while it runs; an append awaits the store here, so that the next
/// commands gather into one batch meanwhile (group commit).
pub(super) struct RoomDriver {
    pub(super) instance: Arc<LiveRoom>,
    pub(super) core: Option<Box<RoomCore>>,
}

/// Recipients that are written to before the task yields to others.
const MAX_RECIPIENTS_PER_YIELD: usize = 256;
/// Bytes of payloads after which a batch is committed.
const MAX_BATCH_BYTES: usize = 128 << 10;

impl RoomDriver {
    /// Runs commands until the inbox is empty.
    pub(super) async fn run(instance: Arc<LiveRoom>) {
        let Some(core) = instance.core.lock().take() else { return };
        let mut driver = RoomDriver { instance, core: Some(core) };
        let mut commands = Vec::new();
        while driver.next_commands(&mut commands) {
            driver.instance.inbox_space.notify_waiters();
            driver.set_time();
            // Once for all probes of a group of commands: many clients may reconnect at once.
            let mut probed = false;
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
                    }
                    RoomCommand::Run(f) => {
                        // A join's position then includes the events that were accepted before.
                        driver.commit_pending().await;
                        let Some(core) = &mut driver.core else { return };
                        f(core, &driver.instance);
                    }
                    RoomCommand::Timer(timer) => {
                        driver.commit_pending().await;
                        let Some(core) = &mut driver.core else { return };
                        core.timer_fired(timer);
                    }
                    RoomCommand::Create(info, reply) => {
                        driver.commit_pending().await;
                        let created = Box::pin(driver.create(info)).await;
                        driver.reply(reply, created);
                    }
                    RoomCommand::SaveState(change, reply) => {
                        driver.commit_pending().await;
                        let saved = Box::pin(driver.save_state(change)).await;
                        driver.reply(reply, saved);
                    }
                    RoomCommand::Delete(reason, reply) => {
                        driver.commit_pending().await;
                        let deleted = Box::pin(driver.delete(reason)).await;
                        driver.reply(reply, deleted);
                    }
                    RoomCommand::Deleted => {
                        driver.commit_pending().await;
                        if driver.core.as_ref().is_some_and(|core| core.is_unlisted()) {
                            driver.close_deleted();
                        }
                    }
                    RoomCommand::Receive(events) => {
                        Box::pin(driver.receive_events(*events)).await;
                        driver.set_time();
                    }
                    RoomCommand::CatchUp => {
                        Box::pin(driver.catch_up()).await;
                        driver.set_time();
                    }
                    RoomCommand::ProbeStore(reply) => {
                        if !std::mem::replace(&mut probed, true) {
                            driver.commit_pending().await;
                            driver.probe_store().await;
                        }
                        driver.reply(reply, ());
                    }
                    #[cfg(test)]
                    RoomCommand::Pause(begun, resume) => {
                        begun.send(()).expect("the test waits");
                        // It is dropped.
                        let _ = resume.await;
                    }
                }
                driver.carry_out();
            }
            driver.commit_pending().await;
            driver.carry_out();
        }
    }

    /// Sets the time of what the core does next: it is read for each group of commands, and after what takes time.
    pub(super) fn set_time(&mut self) {
        if let Some(core) = &mut self.core {
            core.set_time(clock::room_time());
        }
    }

    /// Carries out the effects of the last command.
    pub(super) fn carry_out(&mut self) {
        if let Some(core) = &mut self.core {
            self.instance.carry_out(core);
        }
    }

    /// Sends the reply of a command, after its effects.
    fn reply<T>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        self.carry_out();
        self.set_time();
        // The caller may have dropped its future.
        let _ = reply.send(answer);
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
        if let Some(core) = self.core.take() {
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
    pub(super) async fn commit_pending(&mut self) {
        let Some(core) = &mut self.core else { return };
        let Some(mut pending) = core.take_pending() else { return core.flush_replies() };
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
            core.set_time(clock::room_time());
            if stored.is_err() {
                match core.refuse_pending(pending) {
                    Some(rest) => pending = rest,
                    None => return core.flush_replies(),
                }
            }
        }
        let batch = core.commit(pending);
        self.deliver(batch).await;
    }

    fn flush_replies(&mut self) {
        if let Some(core) = &mut self.core {
            core.flush_replies();
        }
    }

    /// Delivers a batch to all subscriptions: at once, or in several steps where there are many.
    pub(super) fn deliver(&mut self, batch: Batch) -> impl Future<Output = ()> + Send {
        if let Some(core) = &self.core {
            self.instance.set_head(core.log().head());
        }
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
            core.flush_replies();
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
            core.mark_uncertain(clock::room_time());
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
                if let RoomCommand::Publish(publish) = command
                    && let Some(outbox) = publish.refuse(
                        &self.instance.room.meter,
                        Refusal::new(crate::Code::Internal, "internal error"),
                    )
                {
                    outbox.flush_queued();
                }
            }
            self.instance.inbox_space.notify_waiters();
            core.fail_connections();
            self.instance.carry_out(&mut core);
            if let Some(registry) = self.instance.registry.upgrade() {
                registry.remove(&self.instance, self.instance.archive().is_none());
            }
        }
    }
}
