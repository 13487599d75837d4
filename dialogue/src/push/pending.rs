//! The records of pushes on their way, in a store that outlives the process. After a crash, or on another node, the
//! fan-outs and retries go on from them.
//!
//! ```text
//! push/pending/FANOUT/0                            an event, and how far its first attempts are finished
//! push/pending/FANOUT/PROVIDER/HASH/REVISION       a device with a retry to make
//! ```
//!
//! With several nodes on one store, an event's record names the node that owns its fan-out. Another node takes it over
//! after that one has left, by replacing the name with its own. That is one compare-and-swap, so that only one node
//! succeeds; and each node replaces only the value that it has last seen, so that a former owner finds out.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    device::{DeviceId, RegistrationId},
    device_registry::RoomRegistration,
    fanout::Fanout,
    job::PushJob,
    queued_event::QueuedEvent,
    retry_budget::RetryBudget,
};
use crate::{
    cluster::Cluster,
    log::Journal,
    store::{Order, Query, StoreError},
    wire::Id,
};

/// The records of pushes on their way.
pub(super) struct PendingPushes {
    journal: Arc<Journal>,
    /// The other nodes, if the deployment may have any.
    cluster: Option<Arc<Cluster>>,
}

/// A fan-out as the records describe it: an event, and the devices with a retry to make.
#[derive(Debug)]
pub(super) struct PendingPush {
    pub(super) event: QueuedEvent,
    /// The value of the event's record.
    pub(super) stored: Bytes,
    /// The node that owns the fan-out, if it was one of several.
    owner: Option<Id>,
    retries: Vec<PendingRetry>,
    /// The fan-out on this node, once it has begun, while some of the retries have no memory yet.
    pub(super) resumed: Option<ResumedFanout>,
}

/// A fan-out that this node goes on with.
#[derive(Debug)]
pub(super) struct ResumedFanout {
    pub(super) fanout: Arc<Fanout>,
    /// The time at which this node began it.
    pub(super) since: Instant,
}

/// A device with a retry to make.
#[derive(Debug)]
struct PendingRetry {
    registration: RegistrationId,
    user_id: Arc<str>,
    attempts: u32,
    origin: Option<Arc<str>>,
}

/// The owner of a record after an attempt to write it.
#[derive(Debug)]
pub(super) enum Ownership {
    /// This node; with the record's value, as far as it is known.
    ThisNode(Option<Bytes>),
    /// Another node, which took this one for dead and has taken the fan-out over.
    OtherNode,
    /// Unknown, since the store failed; with the value that was passed.
    Unknown(Option<Bytes>),
}

#[derive(Serialize)]
struct EventRecord<'a> {
    #[serde(flatten)]
    event: &'a QueuedEvent,
    #[serde(rename = "peer", skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
}

#[derive(Deserialize)]
struct RecordOwner {
    #[serde(rename = "peer")]
    owner: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RetryRecord {
    #[serde(rename = "user")]
    user_id: String,
    #[serde(rename = "tries")]
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

const KEY_PREFIX: &str = "push/pending/";
/// Records or events that are read from the store at a time.
const PAGE_RECORDS: usize = 512;
/// The time after which the retries of another process are given up whose push origin has kept its part of the retry
/// budget full. Otherwise, a hostile service could keep this node from taking over more.
const MAX_RESUME_WAIT: Duration = Duration::from_secs(60 * 60);
/// Pending retries that take as much memory as a [unit](super::memory::UNIT_BYTES) of an event.
const RETRIES_PER_UNIT: usize = 4;
/// Milliseconds by which the clock may have been set back between an event's record and the event.
const CLOCK_TOLERANCE_MILLIS: u64 = 60_000;

impl PendingPushes {
    pub(super) fn new(journal: Arc<Journal>, cluster: Option<Arc<Cluster>>) -> Self {
        PendingPushes { journal, cluster }
    }

    /// Records an event that is about to be appended to its room's log. Returns the record's value; `None` if it can't
    /// be written, which is logged.
    pub(super) async fn offer(&self, event: &QueuedEvent) -> Option<Bytes> {
        let json = self.event_record(event)?;
        let record = vec![(event_key(&event.id), Some(json.clone()))];
        match self.journal.put(record).await {
            Ok(()) => Some(json),
            Err(error) => {
                warn_not_stored(&error);
                None
            }
        }
    }

    /// Records an event with its progress in the place of the value `before`, if this node still owns it.
    pub(super) async fn update(&self, event: &QueuedEvent, before: Option<Bytes>) -> Ownership {
        let Some(json) = self.event_record(event) else { return Ownership::ThisNode(before) };
        let key = event_key(&event.id);
        if self.cluster.is_none() {
            self.put(vec![(key, Some(json.clone()))]).await;
            return Ownership::ThisNode(Some(json));
        }
        match self.journal.swap(&key, before.clone(), Some(json.clone())).await {
            Ok(true) => Ownership::ThisNode(Some(json)),
            Ok(false) => self.read_ownership(&key).await.unwrap_or(Ownership::Unknown(before)),
            Err(error) => {
                warn_not_stored(&error);
                Ownership::Unknown(before)
            }
        }
    }

    /// Removes the records of fan-outs that are finished, given by their ids and values, if this node still owns them.
    pub(super) async fn remove(&self, fanouts: Vec<(String, Option<Bytes>)>) {
        if self.cluster.is_none() {
            return self.put(fanouts.iter().map(|(id, _)| (event_key(id), None)).collect()).await;
        }
        for (id, stored) in fanouts {
            let key = event_key(&id);
            match self.journal.swap(&key, stored, None).await {
                Ok(true) => {}
                Ok(false) => {
                    if let Some(Ownership::ThisNode(Some(_))) = self.read_ownership(&key).await {
                        self.put(vec![(key, None)]).await;
                    }
                }
                Err(error) => warn_not_stored(&error),
            }
        }
    }

    /// Records that a job waits for a retry.
    pub(super) async fn put_retry(&self, job: &PushJob) {
        let origin = job.origin.as_deref().map(str::to_owned);
        let user_id = job.registration.user_id.as_ref().to_owned();
        let retry = RetryRecord { user_id, attempts: job.attempts, origin };
        let Ok(json) = serde_json::to_vec(&retry) else { return };
        self.put(vec![(retry_key(job), Some(json.into()))]).await;
    }

    /// Removes the record of a job that has ended.
    pub(super) async fn remove_retry(&self, job: &PushJob) {
        self.put(vec![(retry_key(job), None)]).await;
    }

    /// Reads all records, whichever node owns them, in the order in which the events were accepted. Removes records
    /// that can't be read, and those of retries without an event.
    pub(super) async fn scan(&self) -> Result<Vec<PendingPush>, StoreError> {
        let (mut pushes, mut after): (Vec<PendingPush>, Option<String>) = (Vec::new(), None);
        let mut stray = Vec::new();
        loop {
            let page = self.journal.scan(KEY_PREFIX, after.as_deref(), PAGE_RECORDS).await?;
            for (key, json) in &page {
                if !add_record(&mut pushes, key, json) {
                    stray.push((key.clone(), None));
                }
            }
            let Some((last, _)) = page.into_iter().last() else { break };
            after = Some(last);
        }
        if !stray.is_empty() {
            self.put(stray).await;
        }
        Ok(pushes)
    }

    /// Makes this node the owner of a fan-out. Returns `false` if another node was faster. A node that claimed it
    /// before confirms by this that it still is the owner: others may have taken it for dead since.
    pub(super) async fn claim(&self, push: &mut PendingPush) -> Result<bool, StoreError> {
        if self.cluster.is_none() {
            return Ok(true);
        }
        let Some(json) = self.event_record(&push.event) else { return Ok(false) };
        let key = event_key(&push.event.id);
        let is_claimed = self.journal.swap(&key, Some(push.stored.clone()), Some(json.clone())).await?;
        push.stored = json;
        Ok(is_claimed)
    }

    /// Looks an unconfirmed event up in its room's log, and sets its number and time if it is there. Returns whether it
    /// is. The caller has waited until no process can append it any more.
    pub(super) async fn confirm(&self, event: &mut QueuedEvent) -> Result<bool, StoreError> {
        let mut query = Query::new(Order::NewestFirst, PAGE_RECORDS);
        query.since = Some(event.accepted.timestamp.saturating_sub(CLOCK_TOLERANCE_MILLIS));
        query.events = Some(vec![event.event_name.as_str().into()]);
        loop {
            let page = self.journal.read(&event.room_id, query.clone()).await?;
            let found = page.events.iter().find(|found| found.event_id.as_str() == event.accepted.event_id);
            if let Some(found) = found {
                (event.accepted.seq, event.accepted.timestamp) = (Some(found.seq), found.timestamp);
                event.is_unconfirmed = false;
                return Ok(true);
            }
            if page.next.is_none() {
                return Ok(false);
            }
            query.before = page.next;
        }
    }

    /// Reads who owns a record; `None` if the store fails.
    async fn read_ownership(&self, key: &str) -> Option<Ownership> {
        match self.journal.get(key).await {
            Ok(Some(json)) if record_owner(&json) == self.cluster.as_ref().map(|cluster| cluster.id()) => {
                Some(Ownership::ThisNode(Some(json)))
            }
            // Without a record, the node that took it over has finished.
            Ok(_) => Some(Ownership::OtherNode),
            Err(error) => {
                warn_not_stored(&error);
                None
            }
        }
    }

    fn event_record(&self, event: &QueuedEvent) -> Option<Bytes> {
        let owner = self.cluster.as_ref().map(|cluster| cluster.id());
        let record = EventRecord { event, owner: owner.as_ref().map(Id::as_str) };
        // Text, numbers, lists of them: nothing in it can fail to be JSON.
        serde_json::to_vec(&record).ok().map(Bytes::from)
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) {
        if let Err(error) = self.journal.put(records).await {
            warn_not_stored(&error);
        }
    }
}

impl PendingPush {
    /// Returns whether its owner isn't among `nodes`.
    pub(super) fn is_orphaned(&self, nodes: &BTreeSet<Id>) -> bool {
        self.owner.is_none_or(|owner| !nodes.contains(&owner))
    }

    /// Returns the devices with a retry to make.
    pub(super) fn retry_devices(&self) -> impl Iterator<Item = &DeviceId> {
        self.retries.iter().map(|retry| &retry.registration.device)
    }

    /// Returns the memory that it takes, in [units](super::memory::UNIT_BYTES).
    pub(super) fn units(&self) -> usize {
        let event = self.resumed.as_ref().map_or(&self.event, |resumed| &resumed.fanout.event);
        event.units() + self.retries.len() / RETRIES_PER_UNIT
    }

    /// Takes out at most `max_jobs` retries that get memory, as jobs with a clone of `resume_token`. Those that are
    /// given up are taken out too, as jobs without a reservation: of a superseded fan-out, or of a push origin whose
    /// part of the budget was full for too long.
    pub(super) fn take_jobs(
        &mut self,
        resumed: &ResumedFanout,
        budget: &Arc<RetryBudget>,
        resume_token: &Arc<()>,
        max_jobs: usize,
    ) -> Vec<PushJob> {
        let mut jobs = Vec::new();
        let ResumedFanout { fanout, since } = resumed;
        let (is_superseded, is_late) = (fanout.is_superseded(), since.elapsed() > MAX_RESUME_WAIT);
        self.retries.retain(|PendingRetry { registration, user_id, attempts, origin }| {
            if jobs.len() >= max_jobs {
                return true;
            }
            let reservation = fanout.reserve_resumed(budget, origin.as_ref());
            if reservation.is_none() && !is_superseded && !(is_late && origin.is_some()) {
                return true;
            }
            let registration = RoomRegistration { id: registration.clone(), user_id: Arc::clone(user_id) };
            jobs.push(PushJob {
                attempts: *attempts,
                is_recorded: true,
                origin: origin.clone(),
                reservation,
                resume_token: Some(Arc::clone(resume_token)),
                ..PushJob::new(Arc::clone(fanout), registration)
            });
            false
        });
        jobs
    }
}

fn event_key(fanout_id: &str) -> String {
    format!("{KEY_PREFIX}{fanout_id}/0")
}

fn retry_key(job: &PushJob) -> String {
    format!("{KEY_PREFIX}{}/{}", job.fanout.id(), job.registration.id)
}

/// Adds a record to the pushes read so far. Returns `false` if it is of no use: it can't be read, or is a retry whose
/// event's record, which sorts before it, is missing.
fn add_record(pushes: &mut Vec<PendingPush>, key: &str, json: &Bytes) -> bool {
    let Some((fanout_id, rest)) = key.strip_prefix(KEY_PREFIX).and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    if rest == "0" {
        let Ok(event) = serde_json::from_slice::<QueuedEvent>(json) else { return false };
        let event = QueuedEvent { id: fanout_id.to_owned(), ..event };
        let owner = record_owner(json);
        pushes.push(PendingPush { event, stored: json.clone(), owner, retries: Vec::new(), resumed: None });
        return true;
    }
    let push = pushes.last_mut().filter(|last| last.event.id == fanout_id);
    let retry = RegistrationId::parse(rest).zip(serde_json::from_slice(json).ok());
    let (Some(push), Some((registration, record))) = (push, retry) else { return false };
    let RetryRecord { user_id, attempts, origin } = record;
    let (user_id, origin) = (user_id.into(), origin.map(Arc::from));
    push.retries.push(PendingRetry { registration, user_id, attempts, origin });
    true
}

fn record_owner(json: &[u8]) -> Option<Id> {
    serde_json::from_slice(json).ok().and_then(|RecordOwner { owner }| Id::parse(owner?.as_str()))
}

fn warn_not_stored(error: &StoreError) {
    tracing::warn!(%error, "can't store the progress of pushes; after a crash, some are lost or sent twice");
}
