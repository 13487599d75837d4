//! Reading a room's complete log for an audit: events are included that are no longer declared, or that a newer one of
//! their key replaced.

use std::sync::Arc;

use bytes::Bytes;

use super::{LiveRoom, command::RoomRead, room::unavailable};
use crate::{
    Refusal,
    audit::Anchor,
    store::{Order, Query, StoredEvent},
};

/// An event of the log, with its link in the hash chain.
#[derive(Debug)]
pub(crate) struct AuditedEvent {
    pub(crate) seq: u64,
    /// `None` for an event from before the room was audited.
    pub(crate) digest: Option<[u8; 32]>,
    pub(crate) frame: Bytes,
}

/// Events of a page.
const PAGE_EVENTS: usize = 500;

impl LiveRoom {
    /// Returns the log's epoch, and the anchor at its end.
    pub(crate) async fn chain_end(self: &Arc<Self>) -> Result<(Arc<str>, Anchor), Refusal> {
        self.ask(RoomRead::ChainEnd).await
    }

    /// Returns a page of events after `seq`, oldest first; it is empty at the end of the log.
    pub(crate) async fn chain(self: &Arc<Self>, seq: u64) -> Result<Vec<AuditedEvent>, Refusal> {
        let Some(archive) = self.archive() else {
            let chain = |reply| RoomRead::Chain { after: seq, limit: PAGE_EVENTS, reply };
            let records = self.ask(chain).await?;
            let said = records.iter().filter_map(|record| {
                let digest = record.digest.as_deref().copied();
                Some(AuditedEvent { seq: record.seq?, digest, frame: record.json.clone() })
            });
            return Ok(said.collect());
        };
        let mut query = Query::new(Order::OldestFirst, PAGE_EVENTS);
        query.after = Some(seq);
        let page = archive.journal.read(&self.id, query).await.map_err(|error| {
            tracing::warn!(room_id = &*self.id, %error, "a log can't be exported now");
            unavailable(&self.id)
        })?;
        page.events.iter().map(|stored| self.said(stored).ok_or_else(|| unavailable(&self.id))).collect()
    }

    fn said(&self, stored: &StoredEvent) -> Option<AuditedEvent> {
        let frame = stored.frame(&self.id, std::str::from_utf8(&stored.data).ok()?).to_json().into();
        Some(AuditedEvent { seq: stored.seq, digest: stored.digest, frame })
    }
}
