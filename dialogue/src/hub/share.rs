//! How events get into a log that other instances write to as well: behind what those have put there meanwhile.

use std::sync::Arc;

use super::{
    Instance,
    archive::Archive,
    state::{Pending, State},
    turn::Turn,
};
use crate::{backplane::Published, log::NotAppended};

/// Tries of what is to be kept as it is, while others keep coming first.
const TRIES: usize = 16;

impl Turn {
    /// Shares what was accepted, and writes it to all readers, with what others put before it.
    pub(super) async fn share(&mut self, mut pending: Pending) {
        for _ in 0..TRIES {
            let (Some(state), Some(archive)) = (&mut self.state, self.instance.archive()) else { return };
            let share = state.share_of(&mut pending);
            let again = share.exact.then(|| share.drafts.iter().map(|draft| draft.event.clone()).collect());
            if !make_known(state, &self.instance, archive).await {
                return state.refuse_all(pending);
            }
            let shared = match archive.journal.share(share).await {
                Ok(shared) => shared,
                Err(error) => {
                    state.refuse_all(pending);
                    return self.not_shared(error).await;
                }
            };
            let kept = shared.outcomes.len();
            let Some(rest) = again.map(|events: Vec<_>| events.into_iter().skip(kept).collect()) else {
                return self.settle_shared(pending, shared).await;
            };
            let (settled, left) = pending.split(kept);
            if kept > 0 {
                self.settle_shared(settled, shared).await;
            } else if !self.catch_up_to(&shared).await {
                let Some(state) = &mut self.state else { return };
                return state.refuse_all(left);
            }
            let Some(state) = &mut self.state else { return };
            match left.is_empty() {
                true => return,
                false => pending = state.renumber(left, rest),
            }
        }
        if let Some(state) = &mut self.state {
            state.refuse_all(pending);
        }
    }

    /// What was shared is in the log, or told: it is delivered.
    async fn settle_shared(&mut self, pending: Pending, shared: Published) {
        let Some(state) = &mut self.state else { return };
        state.call_if_new(&shared.epoch);
        let mut batch = state.adopt(&shared.missed);
        if state.log().head().0 == shared.before {
            state.settle_shared(pending, shared.outcomes, &mut batch);
            return self.write(batch).await;
        }
        // More was missed than one answer holds: all that is in the log comes from there.
        state.acknowledge(pending, shared.outcomes, &mut batch);
        self.write(batch).await;
        self.ask().await;
    }

    /// Takes what others put before an event; yields whether that is all.
    async fn catch_up_to(&mut self, shared: &Published) -> bool {
        let Some(state) = &mut self.state else { return false };
        state.call_if_new(&shared.epoch);
        let batch = state.adopt(&shared.missed);
        self.write(batch).await;
        if self.head() < shared.before {
            self.ask().await;
        }
        self.head() >= shared.before
    }

    /// It was not put there, or nobody knows.
    async fn not_shared(&mut self, error: NotAppended) {
        let Some(state) = &mut self.state else { return };
        match error {
            NotAppended::Untouched => state.answer(),
            // The log is another: what it is, is known at once.
            NotAppended::Unknown(error) if error.is_conflict() => {
                state.answer();
                self.ask().await;
            }
            NotAppended::Unknown(_) => {
                state.unsettle();
                state.answer();
            }
        }
    }

    fn head(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.log().head().0)
    }
}

/// Makes the store know of the room, before it has events of it; yields whether it does.
pub(super) async fn make_known(state: &mut State, instance: &Arc<Instance>, archive: &Archive) -> bool {
    if !archive.journal.is_up() {
        return false;
    }
    if !state.is_known() {
        match archive.remember(&instance.id, &instance.info()).await {
            Ok(true) => {}
            // Somebody else made it, and has more to say of it.
            Ok(false) => instance.catch_up(),
            Err(_) => return false,
        }
        state.known();
    }
    true
}
