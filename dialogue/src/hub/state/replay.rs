//! Reading on from a position: from memory, or from the store where the past is longer.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    super::{ConnectionId, Instance, archive::OldPage, members::Reader},
    State,
};
use crate::{log::Stretch, wire::EventSet};

/// Bytes of one page of a replay.
const PAGE: u64 = 64 << 10;
/// Tries of a page that the store doesn't give, each after twice as long: 6 s together.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

impl State {
    /// Sends a reader the next page of its replay; at the end of the log it goes on live.
    pub(crate) fn replay_page(&mut self, connection: ConnectionId) {
        let Some(reading) = self.members.get_mut(connection) else { return };
        let Some(after) = reading.replaying else { return };
        if !reading.wanted.meets(self.room.numbered()) {
            // Nothing that it would get is in the log, however long that is.
            reading.replaying = None;
            return self.send_replay(connection, Vec::new(), false);
        }
        match self.log.after(after, reading.wanted, PAGE) {
            // The log was trimmed past its reader.
            Stretch::Gone => reading.fell_out(&self.id),
            Stretch::Stored => self.fetch(connection, after),
            Stretch::Here(page, cursor) => {
                let more = page.next.is_some();
                reading.replaying = more.then_some(cursor);
                self.send_replay(connection, page.records, more);
            }
        }
    }

    /// Sends a reader what the store has after a position; `None` where it has nothing there any more.
    fn replay_old(&mut self, connection: ConnectionId, after: u64, page: Option<&OldPage>) {
        let Some(reading) = self.members.get_mut(connection) else { return };
        if reading.replaying != Some(after) {
            // It joined again meanwhile, from elsewhere.
            let more = reading.replaying.is_some();
            return self.send_replay(connection, Vec::new(), more);
        }
        let Some(page) = page.filter(|page| page.first <= after + 1) else {
            // Whoever comes back is told so.
            self.log.trimmed(page.map_or(after + 2, |page| page.first));
            return reading.fell_out(&self.id);
        };
        let (wanted, head) = (reading.wanted, self.log.head().0);
        // What the store has beyond the log is delivered when the log has it.
        reading.replaying = Some(page.through.min(head));
        let records = page.records.iter().filter(|record| {
            record.seq > Some(after)
                && record.seq <= Some(head)
                && self.log.is_for(record, wanted)
                && self.log.is_newest(record)
        });
        let records: Vec<_> = records.cloned().collect();
        self.send_replay(connection, records, true);
    }

    fn send_replay(&mut self, connection: ConnectionId, records: Vec<Arc<crate::log::Record>>, more: bool) {
        let mut batch = self.batch();
        records.into_iter().for_each(|record| batch.push(record));
        let Some(reading) = self.members.get_mut(connection) else { return };
        if !batch.events().is_empty() {
            reading.deliver_page(&batch);
        }
        match (&reading.reader, self.instance.upgrade()) {
            (Reader::Member(outbox, _), Some(instance)) => outbox.replayed(&instance, more),
            // Until its queue is full; then it asks by itself.
            (Reader::Listener(listener), Some(instance)) if more && !listener.is_behind() => {
                instance.replay_more(connection);
            }
            _ => {}
        }
    }

    /// Has a page read for a reader: those who come back to the same place share it.
    fn fetch(&self, connection: ConnectionId, after: u64) {
        let Some(instance) = self.instance.upgrade() else { return };
        let epoch = Arc::clone(self.log.epoch());
        // It ends with the instance, or when the store has answered or failed a bounded number of times.
        instance.spawn(fetch(Arc::downgrade(&instance), epoch, connection, after));
    }

    /// The store fails: a connection comes back and tries again, server code is told in the program's log.
    fn replay_failed(&mut self, connection: ConnectionId, after: u64) {
        if let Some(reading) = self.members.get_mut(connection)
            && reading.replaying == Some(after)
        {
            reading.fell_out(&self.id);
        }
    }

    /// Changes what a member is subscribed to; yields whether it is one.
    pub(crate) fn subscribe(
        &mut self,
        connection: ConnectionId,
        change: impl FnOnce(EventSet) -> EventSet,
    ) -> bool {
        self.members.get_mut(connection).map(|reading| reading.wanted = change(reading.wanted)).is_some()
    }
}

async fn fetch(instance: Weak<Instance>, epoch: Arc<str>, connection: ConnectionId, after: u64) {
    for attempt in 0..TRIES {
        let Some(room) = instance.upgrade() else { return };
        let Some(archive) = room.archive() else { return };
        match archive.after(&room.room, &room.id, &epoch, after).await {
            Ok(page) => return room.cast(move |state| state.replay_old(connection, after, page.as_deref())),
            Err(error) => tracing::debug!(room_id = &*room.id, %error, "a page of the past can't be read"),
        }
        drop(room);
        sleep(PAUSE * 2_u32.pow(attempt)).await;
    }
    if let Some(room) = instance.upgrade() {
        room.cast(move |state| state.replay_failed(connection, after));
    }
}
