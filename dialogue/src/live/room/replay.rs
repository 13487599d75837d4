//! Replays: sending a subscription the events after its position, page by page, from memory or from the store for older
//! ones. The next page is read once the previous one has left the outbox (flow control), and at the end of the log the
//! subscription goes on live.

use std::sync::Arc;

use super::{RoomCore, RoomEffect, members::EventSink};
use crate::{
    live::ConnectionId,
    log::{LogSlice, Record},
    wire::{EventSet, Id},
};

/// A page of events that are in the store only, in order.
#[derive(Debug)]
pub(crate) struct ArchivedPage {
    pub(in crate::live) records: Vec<Arc<Record>>,
    /// The `seq` of the first event that the store had in the page, declared or not.
    pub(in crate::live) first: u64,
    /// The `seq` of the last event.
    pub(in crate::live) through: u64,
    pub(in crate::live) bytes: usize,
    /// Set if no event can be added to the page any more.
    pub(in crate::live) complete: bool,
    /// The ids of all events, including those of kinds that are no longer declared.
    pub(in crate::live) ids: Vec<Id>,
}

impl ArchivedPage {
    /// Returns the id of event `seq`, if the page has it.
    pub(in crate::live) fn id_of(&self, seq: u64) -> Option<Id> {
        self.ids.get(usize::try_from(seq.checked_sub(self.first)?).ok()?).copied()
    }
}

/// A change to the events that a member receives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SubscriptionChange {
    Add(EventSet),
    Remove(EventSet),
}

/// Bytes of one page of a replay.
const PAGE_BYTES: u64 = 64 << 10;

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
            LogSlice::Stored => {
                let epoch = Arc::clone(self.log.epoch());
                self.effects.push(RoomEffect::FetchPage { connection, after, epoch });
            }
            LogSlice::InMemory(page, cursor) => {
                let more = page.next.is_some();
                subscription.replaying = more.then_some(cursor);
                self.send_replay(connection, page.records, more);
            }
        }
    }

    /// Sends a subscription an archived page after a position; `None` where the store has nothing there any more.
    pub(in crate::live) fn replay_archived(
        &mut self,
        connection: ConnectionId,
        after: u64,
        page: Option<&ArchivedPage>,
    ) {
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

    fn send_replay(&mut self, connection: ConnectionId, records: Vec<Arc<Record>>, more: bool) {
        let mut batch = self.new_batch();
        records.into_iter().for_each(|record| batch.push(record));
        let Some(subscription) = self.members.get_mut(connection) else { return };
        if !batch.events().is_empty() {
            subscription.deliver_page(&batch);
        }
        match &subscription.sink {
            EventSink::Member(outbox, _) => {
                self.effects.push(RoomEffect::ReplayPageSent(Arc::clone(outbox), more));
            }
            // While its queue has space; otherwise the listener requests the page itself.
            EventSink::Listener(listener) if more && !listener.is_lagging() => {
                self.effects.push(RoomEffect::RequestPage(connection));
            }
            EventSink::Listener(_) => {}
        }
    }

    /// Ends a replay whose page can't be read: a connection is closed, to reconnect and try again; for a listener it is
    /// logged.
    pub(in crate::live) fn replay_failed(&mut self, connection: ConnectionId, after: u64) {
        if let Some(subscription) = self.members.get_mut(connection)
            && subscription.replaying == Some(after)
        {
            subscription.fell_behind(&self.id);
        }
    }

    /// Changes the events that a member is subscribed to; returns `false` if the connection is no member.
    pub(in crate::live) fn subscribe(
        &mut self,
        connection: ConnectionId,
        change: SubscriptionChange,
    ) -> bool {
        let Some(subscription) = self.members.get_mut(connection) else { return false };
        subscription.filter = match change {
            SubscriptionChange::Add(events) => subscription.filter.union(events),
            SubscriptionChange::Remove(events) => subscription.filter.without(events),
        };
        true
    }
}
