//! What became of an append that failed: the store is asked, and what it has is in the log.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Instance,
    archive::Archive,
    peers::Message,
    state::{DELETED, State},
    turn::Turn,
};
use crate::store::{Order, Query, StoreError};

/// Events of one page, of those that the store has beyond the log.
const PAGE: usize = 1_000;

/// How long it takes from the end of a room's log to the end of what is known of it.
const DELETING: Duration = Duration::from_millis(100);

/// Where the store says that a log ends.
enum End {
    /// Where memory does.
    Here,
    /// Further on.
    Beyond,
    /// Elsewhere: it is another log.
    Elsewhere,
    /// Nowhere: the room was deleted at another instance.
    Deleted,
    /// It was begun by another instance, and is called so.
    New(Arc<str>),
}

impl Turn {
    /// Asks the store where the log ends.
    pub(super) async fn ask(&mut self) {
        let (Some(state), Some(archive)) = (&mut self.state, self.instance.archive()) else { return };
        if !archive.journal.is_up() {
            return state.unsettle();
        }
        match end(state, &self.instance, archive).await {
            Ok(End::Here) => state.settled(),
            Ok(End::Beyond) => self.adopt().await,
            Ok(End::New(epoch)) => {
                state.call_if_new(&epoch);
                self.adopt().await;
            }
            Ok(End::Elsewhere) => self.begin_again("the store has another log of a room than it had"),
            Ok(End::Deleted) => {
                let gone = state.end(DELETED);
                if let Some(peers) = &archive.peers {
                    peers.ended(&self.instance, gone);
                }
            }
            Err(error) => {
                tracing::debug!(room_id = &*self.instance.id, %error, "the end of a log can't be read");
                state.unsettle();
            }
        }
    }

    /// Takes what the store has beyond the log, and delivers it.
    async fn adopt(&mut self) {
        loop {
            let (Some(state), Some(archive)) = (&mut self.state, self.instance.archive()) else { return };
            let mut query = Query::new(Order::OldestFirst, PAGE);
            query.after = Some(state.log().head().0);
            let Ok(page) = archive.journal.read(&self.instance.id, query).await else {
                return state.unsettle();
            };
            let before = state.log().head().0;
            if page.events.first().is_some_and(|first| first.seq > before + 1) {
                return self
                    .begin_again("more was put into a room than it retains, while nothing was heard of it");
            }
            let batch = state.adopt(&page.events);
            if state.log().head().0 == before {
                return state.settled();
            }
            self.write(batch).await;
        }
    }

    /// The room's members go on in an instance with the log that the store has.
    fn begin_again(&mut self, why: &'static str) {
        if let Some(archive) = self.instance.archive()
            && archive.journal.may_tell()
        {
            let room_id = &*self.instance.id;
            tracing::error!(
                room_id,
                "{why}: it starts again, and its readers are told; so may other rooms now"
            );
        }
        if let Some(state) = &mut self.state {
            // Marks the members: those who then find this instance retired see that they are on the way.
            let moving = state.give_way();
            self.instance.retire();
            self.instance.move_on(moving);
        }
    }
}

/// Fails if the store has another log than memory, or none any more. While it can't be read, it counts as unchanged.
pub(super) async fn still_has(state: &mut State, instance: &Instance, archive: &Archive) -> Result<(), ()> {
    match end(state, instance, archive).await {
        Ok(End::Here | End::Beyond | End::New(_)) | Err(_) => Ok(()),
        Ok(End::Elsewhere | End::Deleted) => {
            state.unsettle();
            Err(())
        }
    }
}

async fn end(state: &State, instance: &Instance, archive: &Archive) -> Result<End, StoreError> {
    let (log, stored_as) = (state.log(), state.stored_as());
    let (head, event_id) = log.head();
    let Some(found) = archive.journal.head(&instance.id).await? else {
        if head == 0 {
            return Ok(End::Here);
        }
        if is_deleted(state, instance, archive).await? {
            return Ok(End::Deleted);
        }
        // Its numbers will be given again, here and in rooms that aren't in memory.
        instance.renew_epoch_of(stored_as).await?;
        archive.forget_generation(&instance.id).await?;
        return Ok(End::Elsewhere);
    };
    if found.epoch != *stored_as {
        // Whoever came first gave it its name.
        return Ok(if head == 0 { End::New(found.epoch) } else { End::Elsewhere });
    }
    let same = match found.last.seq {
        last if last < head => false,
        last if last == head => found.last.event_id.as_str() == event_id,
        _ => head == 0 || has(archive, instance, head, event_id).await?,
    };
    if !same {
        // It was set back, and gives numbers again that were given before.
        archive.new_generation(&instance.id, state.log().epoch()).await?;
        state.tell_peers(Message::Renamed);
        return Ok(End::Elsewhere);
    }
    Ok(if found.last.seq == head { End::Here } else { End::Beyond })
}

/// Whether a room that has no log any more was deleted: then nothing is known of it either.
async fn is_deleted(state: &State, instance: &Instance, archive: &Archive) -> Result<bool, StoreError> {
    // Where nobody said so, the store was emptied, or set back to before it knew of the room.
    if !state.is_shared() || !instance.room.keyed || !instance.was_deleted() {
        return Ok(false);
    }
    if archive.known(&instance.id).await?.is_some() {
        // Its log goes first.
        sleep(DELETING).await;
        return Ok(archive.known(&instance.id).await?.is_none());
    }
    Ok(true)
}

/// Whether the store has that event at that number, or none any more.
async fn has(archive: &Archive, instance: &Instance, seq: u64, event_id: &str) -> Result<bool, StoreError> {
    let mut query = Query::new(Order::OldestFirst, 1);
    (query.after, query.before) = (Some(seq - 1), Some(seq + 1));
    let page = archive.journal.read(&instance.id, query).await?;
    Ok(page.events.first().is_none_or(|event| event.event_id.as_str() == event_id))
}
