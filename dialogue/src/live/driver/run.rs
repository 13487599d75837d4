//! The loop of the driver: it takes the queued commands, executes them, and commits.

use std::{mem, sync::Arc};

#[cfg(test)]
use tokio::sync::oneshot;

use super::RoomDriver;
#[cfg(test)]
use crate::live::command::TestOperation;
use crate::live::{LiveRoom, command::RoomCommand, delivery::ReplyQueue};

/// Bytes of payloads after which a batch is committed.
const MAX_BATCH_BYTES: usize = 128 << 10;

/// Spawns the driver of an instance.
pub(in crate::live) fn spawn(instance: &Arc<LiveRoom>) {
    instance.spawn(run(Arc::clone(instance)));
}

/// Drives an instance until its inbox is empty.
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
                RoomCommand::Pause(begun, resume) => pause(begun, resume).await,
                #[cfg(test)]
                RoomCommand::Run(operation) => driver.run_test_operation(operation).await,
            }
        }
        driver.commit_pending().await;
        driver.carry_out();
    }
}

impl RoomDriver {
    /// Takes the queued commands; puts the core back and returns `false` if there are none.
    fn next_commands(&mut self, commands: &mut Vec<RoomCommand>) -> bool {
        let mut inbox = self.instance.inbox.lock();
        if !inbox.commands.is_empty() {
            inbox.bytes = 0;
            mem::swap(&mut inbox.commands, commands);
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
        if closed {
            if let Some(owner) = self.instance.owner.upgrade() {
                owner.remove(&self.instance, loses_log);
            }
        } else if is_evictable {
            self.instance.context.scans.note(&self.instance.id);
        }
        false
    }

    #[cfg(test)]
    async fn run_test_operation(&mut self, operation: Box<TestOperation>) {
        self.commit_pending().await;
        let Some(core) = &mut self.core else { return };
        let reply = operation(core);
        self.carry_out();
        self.flush_replies();
        reply();
    }
}

/// Waits until the sender of `resume` is dropped.
#[cfg(test)]
async fn pause(begun: oneshot::Sender<()>, resume: oneshot::Receiver<()>) {
    begun.send(()).expect("the test waits");
    // It is dropped.
    let _ = resume.await;
}
