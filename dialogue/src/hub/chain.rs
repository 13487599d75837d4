//! A room's log as it was said, for an audit: no event is left out because it is no longer declared, or a newer one took
//! its place.

use std::sync::Arc;

use bytes::Bytes;

use super::{Instance, state::unavailable};
use crate::{
    Refusal,
    audit::Anchor,
    store::{Order, Query, StoredEvent},
    wire::frame::EventHead,
};

/// An event as it was said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) seq: u64,
    /// None from before the room was audited.
    pub(crate) digest: Option<[u8; 32]>,
    pub(crate) frame: Bytes,
}

/// Events of a page.
const PAGE: usize = 500;

impl Instance {
    /// The log's epoch, and where it ends.
    pub(crate) async fn chain_end(self: &Arc<Self>) -> Result<(Arc<str>, Anchor), Refusal> {
        self.run(|state| state.chain_end()).await.ok_or_else(|| self.gone())
    }

    /// Some events after number `seq`, oldest first; none at the end of the log.
    pub(crate) async fn chain(self: &Arc<Self>, seq: u64) -> Result<Vec<Said>, Refusal> {
        let Some(archive) = self.archive() else {
            let records = self.run(move |state| state.chain(seq, PAGE)).await.ok_or_else(|| self.gone())?;
            let said = records.iter().filter_map(|record| {
                let digest = record.digest.as_deref().copied();
                Some(Said { seq: record.seq?, digest, frame: record.json.clone() })
            });
            return Ok(said.collect());
        };
        let mut query = Query::new(Order::OldestFirst, PAGE);
        query.after = Some(seq);
        let page = archive.journal.read(&self.id, query).await.map_err(|error| {
            tracing::warn!(room_id = &*self.id, %error, "a log can't be exported now");
            unavailable(&self.id)
        })?;
        page.events.iter().map(|stored| self.said(stored).ok_or_else(|| unavailable(&self.id))).collect()
    }

    fn said(&self, stored: &StoredEvent) -> Option<Said> {
        let head = EventHead {
            room_id: &self.id,
            event: &stored.event,
            from: &stored.from,
            timestamp: stored.timestamp,
            event_id: stored.event_id.as_str(),
            seq: Some(stored.seq),
            server: stored.from_server,
            meta: stored.meta.as_deref(),
        };
        let frame = head.encode(std::str::from_utf8(&stored.data).ok()?);
        Some(Said { seq: stored.seq, digest: stored.digest, frame })
    }
}
