//! Reading a room's past: from memory, and from the store where it is longer.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant as Moment, timeout},
};

use super::{Instance, Join, NotJoined, archive::Archive, inbox::Command, state::unavailable};
use crate::{
    Position, Refusal,
    log::{PAGE, Page, Record},
    store::{Order, Query, StoreError},
    wire::{EventSet, Id},
};

/// How long a request waits for its turn to read, and how long server code looks for events that are rare.
const PATIENCE: Duration = Duration::from_secs(10);

impl Instance {
    /// Up to `limit` events before `before`, newest first. A page may be shorter, even empty, though there are more: what is
    /// looked at for it is bounded.
    pub(crate) async fn history(
        self: &Arc<Self>,
        before: Option<u64>,
        wanted: EventSet,
        limit: usize,
    ) -> Result<Page, Refusal> {
        if !wanted.meets(self.room.numbered()) {
            return Ok(Page::default());
        }
        let page = self.run(move |state| state.page(before, wanted, limit)).await;
        let mut page = page.ok_or_else(|| self.gone())?;
        if let Some(rest) = page.rest.take() {
            let size: usize = page.records.iter().map(|record| record.json.len()).sum();
            let mut query = Query::new(Order::NewestFirst, limit - page.records.len());
            query.before = Some(rest);
            query.max_bytes = usize::try_from(PAGE).unwrap_or(usize::MAX).saturating_sub(size);
            if query.max_bytes > 0 {
                let (records, next) = self.read(query, wanted).await?;
                page.records.extend(records);
                page.next = next;
            }
        }
        Ok(page)
    }

    /// Reads the `wanted` events that `query` asks for, and where to go on if there may be more; it may be none of them
    /// all the same, since what is looked at is bounded.
    pub(crate) async fn read(
        self: &Arc<Self>,
        mut query: Query,
        wanted: EventSet,
    ) -> Result<(Vec<Arc<Record>>, Option<u64>), Refusal> {
        if !wanted.meets(self.room.numbered()) {
            return Ok((Vec::new(), None));
        }
        query.events = self.room.names_of(wanted);
        let Some(archive) = self.archive() else {
            return self.run(move |state| state.select(&query)).await.ok_or_else(|| self.gone());
        };
        let first = self.run(move |state| state.first_of(wanted)).await.ok_or_else(|| self.gone())?;
        query.after = query.after.max(first.checked_sub(1));
        // Those that come first are served first; a store that is slow is not asked by all at once.
        let permit = timeout(PATIENCE, archive.may_read()).await.map_err(|_| self.unreadable())?;
        let (records, next) = self.read_stored(archive, &query).await.map_err(|error| {
            tracing::debug!(room_id = &*self.id, %error, "the past of a room can't be read");
            self.unreadable()
        })?;
        // A room that is busy keeps no other from the store.
        drop(permit);
        if records.is_empty() {
            return Ok((records, next));
        }
        let kept = self.run(move |state| state.kept(records, wanted)).await;
        Ok((kept.ok_or_else(|| self.gone())?, next))
    }

    /// The same for server code, which is given an empty page at the end of what there is only, or when it takes long.
    pub(crate) async fn find(
        self: &Arc<Self>,
        mut query: Query,
        wanted: EventSet,
    ) -> Result<(Vec<Arc<Record>>, Option<u64>), Refusal> {
        let until = Moment::now() + PATIENCE;
        loop {
            let (records, next) = self.read(query.clone(), wanted).await?;
            if !records.is_empty() || next.is_none() || Moment::now() >= until {
                return Ok((records, next));
            }
            match query.order {
                Order::OldestFirst => query.after = next,
                Order::NewestFirst => query.before = next,
            }
        }
    }

    fn unreadable(&self) -> Refusal {
        Refusal { message: "the room's past can't be read now; try again".into(), ..unavailable(&self.id) }
    }

    /// Lets somebody in; `None` if it is no more.
    pub(crate) async fn join(self: &Arc<Self>, mut join: Join) -> Option<Result<bool, NotJoined>> {
        let shared = self.archive().is_some_and(|archive| archive.peers.is_some());
        let _coming = (shared && self.room.keyed).then(|| OnTheWay::to(self));
        match self.admit(join.clone()).await {
            Some(Err(NotJoined::Behind)) => {
                let (sender, looked) = oneshot::channel();
                self.push(Command::Look(sender)).ok()?;
                looked.await.ok()?;
                join.looked = true;
                self.admit(join).await
            }
            joined => joined,
        }
    }

    /// Lets in who has a place already; `None` if it is no more.
    pub(super) async fn let_in(self: &Arc<Self>, join: Join) -> Option<Result<bool, NotJoined>> {
        self.run(move |state| state.join(join)).await
    }

    async fn admit(self: &Arc<Self>, join: Join) -> Option<Result<bool, NotJoined>> {
        let peers = self.archive().and_then(|archive| archive.peers.clone());
        let Some(peers) = peers else { return self.run(move |state| state.join(join)).await };
        let connection = join.link.id();
        let needs = self.run(move |state| state.needs_place(connection)).await?;
        let Some(most) = needs else { return self.run(move |state| state.join(join)).await };
        match peers.reserve(&self.id, &join.link.user_id, most).await {
            // The place is kept until the connection is counted itself.
            Ok(Some(place)) => {
                self.run(move |state| {
                    let joined = state.join(join);
                    drop(place);
                    joined
                })
                .await
            }
            Ok(None) => {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                self.run(move |state| Err(NotJoined::Refused(state.full(most)))).await
            }
            Err(error) => {
                tracing::debug!(room_id = &*self.id, %error, "a place in a room can't be taken");
                Some(Err(NotJoined::Refused(unavailable(&self.id))))
            }
        }
    }

    /// The id of the event at a position, which only the store knows.
    pub(crate) async fn event_at(
        self: &Arc<Self>,
        epoch: &Arc<str>,
        since: Option<&Position>,
    ) -> Result<Option<Id>, Refusal> {
        let (Some(archive), Some(since)) = (self.archive(), since) else { return Ok(None) };
        let page = archive.after(&self.room, &self.id, epoch, since.seq.saturating_sub(1)).await;
        let page = page.map_err(|_| unavailable(&self.id))?;
        Ok(page.and_then(|page| page.id_of(since.seq)))
    }

    async fn read_stored(
        &self,
        archive: &Archive,
        query: &Query,
    ) -> Result<(Vec<Arc<Record>>, Option<u64>), StoreError> {
        let page = archive.journal.read(&self.id, query.clone()).await?;
        let records = page.events.iter().map(|stored| self.room.record(&self.id, stored));
        Ok((records.map(Arc::new).collect(), page.next))
    }

    /// Why nothing can be read: it is no more, or could not be opened.
    pub(super) fn gone(&self) -> Refusal {
        self.failure().unwrap_or_else(|| super::busy(&self.id))
    }
}

/// Somebody is on the way in.
struct OnTheWay<'a>(&'a Arc<Instance>);

impl<'a> OnTheWay<'a> {
    fn to(instance: &'a Arc<Instance>) -> Self {
        instance.coming.fetch_add(1, Ordering::Relaxed);
        OnTheWay(instance)
    }
}

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        if self.0.coming.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Who did not come in leaves no trace.
            self.0.cast(|_| ());
        }
    }
}
