//! Adding the events that other nodes published.

use super::RoomDriver;
use crate::cluster::backplane::FeedEvents;

impl RoomDriver {
    /// Adds events of other nodes to the log, and delivers them.
    pub(super) async fn receive_events(&mut self, events: FeedEvents) {
        let room = &self.instance.room;
        // The spans last until the events are written to all recipients.
        let _spans = room.traces.delivery_spans(room.name, &events);
        let Some(core) = &mut self.core else { return };
        if core.is_audited() {
            // Pending events have the digest of the event before them.
            self.commit_pending().await;
        }
        let Some(core) = &mut self.core else { return };
        match core.receive_events(&events) {
            Some(batch) => self.deliver(batch).await,
            None => {
                self.instance.room.meter.backfilled();
                self.commit_pending().await;
                self.probe_store().await;
                let Some(core) = &mut self.core else { return };
                let rest = core.unlogged_events(&events);
                self.deliver(rest).await;
            }
        }
    }
}
