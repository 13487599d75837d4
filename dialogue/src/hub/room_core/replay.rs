//! Replays: sending a subscription the events after its position, page by page, from memory or from the store for older
//! ones. The next page is read once the previous one has left the outbox (flow control), and at the end of the log the
//! subscription goes on live.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    super::{ConnectionId, LiveRoom, archive::ArchivedPage, delivery::ReplaySource, members::EventSink},
    RoomCore,
};
use crate::{log::LogSlice, wire::EventSet};

/// Bytes of one page of a replay.
const PAGE_BYTES: u64 = 64 << 10;
/// Attempts to read a page from the store, with a delay that doubles from the first: 6 s together.
const MAX_READ_ATTEMPTS: u32 = 5;
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(200);

impl RoomCore {
    /// Sends a subscription the next page of its replay; at the end of the log, it goes on live.
    pub(crate) fn replay_page(&mut self, connection: ConnectionId) {
        let Some(subscription) = self.members.get_mut(connection) else { return };
        let Some(after) = subscription.replaying else { return };
        if !subscription.filter.meets(self.room.numbered()) {
            // None of the events that it wants are ever in the log.
            subscription.replaying = None;
            return self.send_replay(connection, Vec::new(), false);
        }
        match self.log.after(after, subscription.filter, PAGE_BYTES) {
            LogSlice::Trimmed => subscription.fell_behind(&self.id),
            LogSlice::Stored => self.fetch(connection, after),
            LogSlice::InMemory(page, cursor) => {
                let more = page.next.is_some();
                subscription.replaying = more.then_some(cursor);
                self.send_replay(connection, page.records, more);
            }
        }
    }

    /// Sends a subscription an archived page after a position; `None` where the store has nothing there any more.
    fn replay_archived(&mut self, connection: ConnectionId, after: u64, page: Option<&ArchivedPage>) {
        let Some(subscription) = self.members.get_mut(connection) else { return };
        if subscription.replaying != Some(after) {
            // It joined again with another position.
            let more = subscription.replaying.is_some();
            return self.send_replay(connection, Vec::new(), more);
        }
        let Some(page) = page.filter(|page| page.first <= after + 1) else {
            // A client that reconnects is then answered with `lost`.
            self.log.trimmed(page.map_or(after + 2, |page| page.first));
            return subscription.fell_behind(&self.id);
        };
        let (filter, head) = (subscription.filter, self.log.head().seq);
        // Events that the store has beyond this log are delivered once the log has them.
        subscription.replaying = Some(page.through.min(head));
        let records = page.records.iter().filter(|record| {
            record.seq > Some(after)
                && record.seq <= Some(head)
                && self.log.matches(record, filter)
                && self.log.is_newest(record)
        });
        let records: Vec<_> = records.cloned().collect();
        self.send_replay(connection, records, true);
    }

    fn send_replay(&mut self, connection: ConnectionId, records: Vec<Arc<crate::log::Record>>, more: bool) {
        let mut batch = self.new_batch();
        records.into_iter().for_each(|record| batch.push(record));
        let Some(subscription) = self.members.get_mut(connection) else { return };
        if !batch.events().is_empty() {
            subscription.deliver_page(&batch);
        }
        match (&subscription.sink, self.instance.upgrade()) {
            (EventSink::Member(outbox, _), Some(instance)) => outbox.replay_page_sent(&instance, more),
            // While its queue has space; otherwise the listener requests the page itself.
            (EventSink::Listener(listener), Some(instance)) if more && !listener.is_lagging() => {
                instance.request_page(connection);
            }
            _ => {}
        }
    }

    /// Reads a page from the store for a subscription. Clients that come back to the same position share it.
    fn fetch(&self, connection: ConnectionId, after: u64) {
        let Some(instance) = self.instance.upgrade() else { return };
        let epoch = Arc::clone(self.log.epoch());
        // The task ends with the instance, or after a bounded number of attempts.
        instance.spawn(fetch(Arc::downgrade(&instance), epoch, connection, after));
    }

    /// Ends a replay whose page can't be read: a connection is closed, to reconnect and try again; for a listener it is
    /// logged.
    fn replay_failed(&mut self, connection: ConnectionId, after: u64) {
        if let Some(subscription) = self.members.get_mut(connection)
            && subscription.replaying == Some(after)
        {
            subscription.fell_behind(&self.id);
        }
    }

    /// Changes the events that a member is subscribed to; returns `false` if the connection is no member.
    pub(crate) fn subscribe(
        &mut self,
        connection: ConnectionId,
        change: impl FnOnce(EventSet) -> EventSet,
    ) -> bool {
        self.members
            .get_mut(connection)
            .map(|subscription| subscription.filter = change(subscription.filter))
            .is_some()
    }
}

async fn fetch(instance: Weak<LiveRoom>, epoch: Arc<str>, connection: ConnectionId, after: u64) {
    for attempt in 0..MAX_READ_ATTEMPTS {
        let Some(room) = instance.upgrade() else { return };
        let Some(archive) = room.archive() else { return };
        match archive.after(&room.room, &room.id, &epoch, after).await {
            Ok(page) => {
                return room.enqueue(move |core| core.replay_archived(connection, after, page.as_deref()));
            }
            Err(error) => tracing::debug!(room_id = &*room.id, %error, "a page of a replay can't be read"),
        }
        drop(room);
        sleep(FIRST_RETRY_DELAY * 2_u32.pow(attempt)).await;
    }
    if let Some(room) = instance.upgrade() {
        room.enqueue(move |core| core.replay_failed(connection, after));
    }
}
