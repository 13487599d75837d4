//! A turn of work on an instance: one task has its state, until nothing is left to do.

use std::sync::Arc;

use super::{
    Instance, archive::Archive, batch::Batch, inbox::Command, settle::still_has, share::make_known,
    state::State,
};
use crate::{Refusal, log::NotAppended, store::Append};

/// A task's turn of work on an instance.
pub(super) struct Turn {
    pub(super) instance: Arc<Instance>,
    pub(super) state: Option<Box<State>>,
}

/// Readers that are written to before other tasks get a turn.
const STRETCH: usize = 256;
/// Bytes of payloads in one batch.
const BATCH_BYTES: usize = 128 << 10;
impl Turn {
    /// Does what was pushed until nothing is left.
    pub(super) async fn work(instance: Arc<Instance>) {
        let Some(state) = instance.state.lock().take() else { return };
        let mut turn = Turn { instance, state: Some(state) };
        let mut commands = Vec::new();
        while turn.next(&mut commands) {
            turn.instance.space.notify_waiters();
            // Once for all who ask at one time: a crowd may come back at once.
            let mut looked = false;
            for command in commands.drain(..) {
                if turn.state.as_ref().is_some_and(|state| state.is_to_be_settled()) {
                    turn.deliver().await;
                    // In a box, as all that only a store needs: a turn is made for an event that comes alone.
                    Box::pin(turn.ask()).await;
                }
                match command {
                    Command::Publish(publish) => {
                        let Some(state) = &mut turn.state else { return };
                        if state.accept(publish) > BATCH_BYTES {
                            turn.deliver().await;
                        }
                    }
                    Command::Run(f) => {
                        // Whoever joins now has what was accepted before in its position.
                        turn.deliver().await;
                        let Some(state) = &mut turn.state else { return };
                        f(state);
                    }
                    Command::Wait(f) => {
                        turn.deliver().await;
                        let Some(state) = &mut turn.state else { return };
                        f(state).await;
                    }
                    Command::Hear(told) => Box::pin(turn.hear(*told)).await,
                    Command::CatchUp => Box::pin(turn.catch_up()).await,
                    Command::Look(asked) => {
                        if !std::mem::replace(&mut looked, true) {
                            turn.deliver().await;
                            turn.ask().await;
                        }
                        // Whoever asked may be gone.
                        let _ = asked.send(());
                    }
                }
            }
            turn.deliver().await;
        }
    }

    /// Takes what was pushed; ends the turn if that is nothing.
    fn next(&mut self, commands: &mut Vec<Command>) -> bool {
        let mut inbox = self.instance.inbox.lock();
        if !inbox.commands.is_empty() {
            inbox.bytes = 0;
            std::mem::swap(&mut inbox.commands, commands);
            return true;
        }
        let (mut lost, mut is_free) = (false, false);
        inbox.running = false;
        // Where the last turn was a burst, its memory goes.
        inbox.commands = Vec::new();
        if let Some(state) = self.state.take() {
            is_free = self.instance.touch(&state);
            inbox.retired |= state.is_over();
            lost = state.has_past();
            *self.instance.state.lock() = Some(state);
        }
        let retired = inbox.retired;
        drop(inbox);
        if (retired || is_free)
            && let Some(registry) = self.instance.registry.upgrade()
        {
            if retired {
                registry.forget(&self.instance, lost);
            } else {
                registry.scans.note(&self.instance.id);
            }
        }
        false
    }

    /// Makes what was accepted safe, and writes it to all readers.
    pub(super) async fn deliver(&mut self) {
        let Some(state) = &mut self.state else { return };
        let Some(mut pending) = state.take_pending() else { return state.answer() };
        if state.is_shared() {
            Box::pin(self.share(pending)).await;
            // Those who were refused are told, too.
            return self.write_nothing();
        }
        if let Some(archive) = self.instance.archive() {
            let stored = match state.append_of(&mut pending) {
                Some(append) => Box::pin(store(state, &self.instance, archive, append)).await,
                // An append would have shown whether the log is still there.
                None if pending.repeats() => Box::pin(still_has(state, &self.instance, archive)).await,
                None => Ok(()),
            };
            if stored.is_err() {
                match state.refuse(pending) {
                    Some(rest) => pending = rest,
                    None => return state.answer(),
                }
            }
        }
        let batch = state.settle(pending);
        self.write(batch).await;
    }

    fn write_nothing(&mut self) {
        if let Some(state) = &mut self.state {
            state.answer();
        }
    }

    /// Writes a batch to all readers: at once, unless they are many.
    pub(super) fn write(&mut self, batch: Batch) -> impl Future<Output = ()> + Send {
        if let Some(state) = &self.state {
            self.instance.tell_head(state.log().head());
        }
        let rest = self.stretch(&batch, 0).map(|from| Box::pin(self.write_from(batch, from)));
        async {
            if let Some(rest) = rest {
                rest.await;
            }
        }
    }

    async fn write_from(&mut self, batch: Batch, mut from: usize) {
        loop {
            tokio::task::yield_now().await;
            match self.stretch(&batch, from) {
                Some(next) => from = next,
                None => return,
            }
        }
    }

    /// Writes a batch to some readers; yields where to go on.
    fn stretch(&mut self, batch: &Batch, from: usize) -> Option<usize> {
        let state = self.state.as_mut()?;
        let next = state.deliver(batch, from, STRETCH);
        if next.is_none() {
            batch.delivered();
            state.answer();
        }
        next
    }
}

/// Appends to the store, in which the room is made known first.
async fn store(
    state: &mut State,
    instance: &Arc<Instance>,
    archive: &Archive,
    append: Append,
) -> Result<(), ()> {
    // Otherwise nothing was done, for sure.
    if !make_known(state, instance, archive).await {
        return Err(());
    }
    archive.journal.append(append).await.map_err(|error| match error {
        NotAppended::Untouched => {}
        NotAppended::Unknown(error) => {
            if error.is_conflict() {
                tracing::warn!(room_id = &*instance.id, %error, "the store has events of a room that its writer doesn't know");
            }
            state.unsettle();
        }
    })
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Still here only if the work panicked or the runtime is going: a log in memory is lost, and its readers must know.
        if let Some(mut state) = self.state.take() {
            let waiting = {
                let mut inbox = self.instance.inbox.lock();
                inbox.retired = true;
                std::mem::take(&mut inbox.commands)
            };
            // Whoever waits for them is told, and so is who waits for space.
            for command in waiting {
                if let Command::Publish(publish) = command
                    && let Some(outbox) = publish.turn_down(
                        &self.instance.room.meter,
                        Refusal::new(crate::Code::Internal, "internal error"),
                    )
                {
                    outbox.nudge();
                }
            }
            self.instance.space.notify_waiters();
            state.abandon();
            if let Some(registry) = self.instance.registry.upgrade() {
                registry.forget(&self.instance, self.instance.archive().is_none());
            }
        }
    }
}
