//! Pushes that are on their way, in a store that outlives the process.
//!
//! ```text
//! push/pending/ROUND/0                             an event, and how far its devices are done with
//! push/pending/ROUND/PROVIDER/HASH/GENERATION      a device that is to be tried again
//! ```
//!
//! Where several instances share the store, an event's record names the one that pushes it. Another takes it over once that
//! one is gone, by putting its own name there: in one step, so that two can't. So each writes only what it has last seen.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    chain::Chain,
    device::{DeviceId, Registration},
    devices::Entry,
    retained::Retained,
    round::Round,
    told::Told,
};
use crate::{
    hub::Cluster,
    log::Journal,
    store::{Order, Query, StoreError},
    wire::Id,
};

pub(super) struct Pending {
    journal: Arc<Journal>,
    /// The other instances, where there may be any.
    peers: Option<Arc<Cluster>>,
}

/// What was on its way when a process ended.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) told: Told,
    pub(super) kept: Bytes,
    /// The instance that pushed it, if it was one of several.
    peer: Option<Id>,
    devices: Vec<Waiting>,
    /// The round that goes on with it, while some of its devices have no space, and when it began.
    pub(super) round: Option<(Arc<Round>, Instant)>,
}

/// A device that was to be tried again.
#[derive(Debug)]
struct Waiting {
    registration: Registration,
    user: Arc<str>,
    tries: u32,
    origin: Option<Arc<str>>,
}

/// Whose a record is, after it was written.
#[derive(Debug)]
pub(super) enum Held {
    /// This instance's, and what stands in it as far as is known.
    Ours(Option<Bytes>),
    /// Another took this one for gone, and goes on with it.
    Theirs,
    /// It couldn't be told; that was kept of it before.
    Unknown(Option<Bytes>),
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    told: &'a Told,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
}

#[derive(Deserialize)]
struct Owner {
    peer: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Try {
    user: String,
    tries: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

const PREFIX: &str = "push/pending/";
const PAGE: usize = 512;
/// A service that users name keeps its share of the memory of retries full for so long before what another process left
/// for it is given up, lest a stranger's service keeps this instance from taking over more.
const SPACE_WITHIN: Duration = Duration::from_secs(60 * 60);
/// Devices that take as much memory as a [`UNIT`](super::dispatch::UNIT) of an event.
const DEVICES_OF_UNIT: usize = 4;
/// Milliseconds by which the clock may have gone back between an event's record and the event.
const SLACK: u64 = 60_000;

impl Pending {
    pub(super) fn new(journal: Arc<Journal>, peers: Option<Arc<Cluster>>) -> Self {
        Pending { journal, peers }
    }

    /// An event is about to be put into its room. Yields what is kept of that, if it could be.
    pub(super) async fn offer(&self, told: &Told) -> Option<Bytes> {
        let json = self.record(told)?;
        let record = vec![(of_round(&told.id), Some(json.clone()))];
        match self.journal.put(record).await {
            Ok(()) => Some(json),
            Err(error) => {
                complain(&error);
                None
            }
        }
    }

    /// An event is on its way, as far as it is; before, that was kept of it.
    pub(super) async fn keep(&self, told: &Told, before: Option<Bytes>) -> Held {
        let Some(json) = self.record(told) else { return Held::Ours(before) };
        let key = of_round(&told.id);
        if self.peers.is_none() {
            self.put(vec![(key, Some(json.clone()))]).await;
            return Held::Ours(Some(json));
        }
        match self.journal.swap(&key, before.clone(), Some(json.clone())).await {
            Ok(true) => Held::Ours(Some(json)),
            Ok(false) => self.look(&key).await.unwrap_or(Held::Unknown(before)),
            Err(error) => {
                complain(&error);
                Held::Unknown(before)
            }
        }
    }

    /// Nothing is to be done any more for these, of which that was kept.
    pub(super) async fn done(&self, rounds: Vec<(String, Option<Bytes>)>) {
        if self.peers.is_none() {
            return self.put(rounds.iter().map(|(round, _)| (of_round(round), None)).collect()).await;
        }
        for (round, kept) in rounds {
            let key = of_round(&round);
            match self.journal.swap(&key, kept, None).await {
                Ok(true) => {}
                Ok(false) => {
                    if let Some(Held::Ours(Some(_))) = self.look(&key).await {
                        self.put(vec![(key, None)]).await;
                    }
                }
                Err(error) => complain(&error),
            }
        }
    }

    /// A device is to be tried again.
    pub(super) async fn waits(&self, chain: &Chain) {
        let origin = chain.origin.as_deref().map(str::to_owned);
        let waiting = Try { user: chain.entry.user.as_ref().to_owned(), tries: chain.tries, origin };
        let Ok(json) = serde_json::to_vec(&waiting) else { return };
        self.put(vec![(of_chain(chain), Some(json.into()))]).await;
    }

    /// It was.
    pub(super) async fn ended(&self, chain: &Chain) {
        self.put(vec![(of_chain(chain), None)]).await;
    }

    /// What is on its way, whoever pushes it, in the order in which it was said.
    pub(super) async fn left(&self) -> Result<Vec<Left>, StoreError> {
        let (mut left, mut after): (Vec<Left>, Option<String>) = (Vec::new(), None);
        let mut stray = Vec::new();
        loop {
            let page = self.journal.scan(PREFIX, after.as_deref(), PAGE).await?;
            for (key, json) in &page {
                if !add(&mut left, key, json) {
                    stray.push((key.clone(), None));
                }
            }
            let Some((last, _)) = page.into_iter().last() else { break };
            after = Some(last);
        }
        if !stray.is_empty() {
            self.put(stray).await;
        }
        Ok(left)
    }

    /// Makes it this instance's own to push, unless another was faster. One that claimed it before has it confirmed:
    /// others may have taken this instance for gone since.
    pub(super) async fn claim(&self, left: &mut Left) -> Result<bool, StoreError> {
        if self.peers.is_none() {
            return Ok(true);
        }
        let Some(json) = self.record(&left.told) else { return Ok(false) };
        let key = of_round(&left.told.id);
        let claimed = self.journal.swap(&key, Some(left.kept.clone()), Some(json.clone())).await?;
        left.kept = json;
        Ok(claimed)
    }

    /// What became of an event that was about to be put into its room, if it is there: nobody can put it there any more.
    pub(super) async fn find(&self, told: &mut Told) -> Result<bool, StoreError> {
        let mut query = Query::new(Order::NewestFirst, PAGE);
        query.since = Some(told.accepted.timestamp.saturating_sub(SLACK));
        query.events = Some(vec![told.event.as_str().into()]);
        loop {
            let page = self.journal.read(&told.room_id, query.clone()).await?;
            let found = page.events.iter().find(|event| event.event_id.as_str() == told.accepted.event_id);
            if let Some(event) = found {
                (told.accepted.seq, told.accepted.timestamp) = (Some(event.seq), event.timestamp);
                told.offered = false;
                return Ok(true);
            }
            if page.next.is_none() {
                return Ok(false);
            }
            query.before = page.next;
        }
    }

    /// Whose a record is, if that can be told.
    async fn look(&self, key: &str) -> Option<Held> {
        match self.journal.get(key).await {
            Ok(Some(json)) if owner(&json) == self.peers.as_ref().map(|peers| peers.id()) => {
                Some(Held::Ours(Some(json)))
            }
            // Without a record, whoever took it over is done.
            Ok(_) => Some(Held::Theirs),
            Err(error) => {
                complain(&error);
                None
            }
        }
    }

    fn record(&self, told: &Told) -> Option<Bytes> {
        let peer = self.peers.as_ref().map(|peers| peers.id());
        let record = Record { told, peer: peer.as_ref().map(Id::as_str) };
        // Text, numbers, lists of them: nothing in it can fail to be JSON.
        serde_json::to_vec(&record).ok().map(Bytes::from)
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) {
        if let Err(error) = self.journal.put(records).await {
            complain(&error);
        }
    }
}

impl Left {
    /// Whether whoever pushed it isn't among those who are there.
    pub(super) fn is_orphaned(&self, there: &BTreeSet<Id>) -> bool {
        self.peer.is_none_or(|peer| !there.contains(&peer))
    }

    /// Devices that wait.
    pub(super) fn devices(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.iter().map(|waiting| &waiting.registration.device)
    }

    /// The memory that it takes, in [`UNIT`](super::dispatch::UNIT)s.
    pub(super) fn units(&self) -> usize {
        let told = self.round.as_ref().map_or(&self.told, |(round, _)| &round.told);
        told.units() + self.devices.len() / DEVICES_OF_UNIT
    }

    /// Takes the chains of its devices that have memory for their retries, at most `most`; `resumed` counts them. Those
    /// that are over have none: of a round that isn't pushed any more, or of a service that users name and that had as
    /// much as it may have for too long.
    pub(super) fn chains(
        &mut self,
        (round, since): &(Arc<Round>, Instant),
        retained: &Arc<Retained>,
        (resumed, most): (&Arc<()>, usize),
    ) -> Vec<Chain> {
        let mut chains = Vec::new();
        let (superseded, late) = (round.is_superseded(), since.elapsed() > SPACE_WITHIN);
        self.devices.retain(|Waiting { registration, user, tries, origin }| {
            if chains.len() >= most {
                return true;
            }
            let share = round.take_over(retained, origin.as_ref());
            if share.is_none() && !superseded && !(late && origin.is_some()) {
                return true;
            }
            chains.push(Chain {
                round: Arc::clone(round),
                entry: Entry { registration: registration.clone(), user: Arc::clone(user) },
                tries: *tries,
                deferred: 0,
                recorded: true,
                origin: origin.clone(),
                share,
                resumed: Some(Arc::clone(resumed)),
            });
            false
        });
        chains
    }
}

fn of_round(round: &str) -> String {
    format!("{PREFIX}{round}/0")
}

fn of_chain(chain: &Chain) -> String {
    format!("{PREFIX}{}/{}", chain.round.id(), chain.entry.registration)
}

/// Adds what a record says; yields whether it is of any use: a device's is with its event.
fn add(left: &mut Vec<Left>, key: &str, json: &Bytes) -> bool {
    let Some((round, rest)) = key.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    if rest == "0" {
        let Ok(told) = serde_json::from_slice::<Told>(json) else { return false };
        let told = Told { id: round.to_owned(), ..told };
        left.push(Left { told, kept: json.clone(), peer: owner(json), devices: Vec::new(), round: None });
        return true;
    }
    let of = left.last_mut().filter(|last| last.told.id == round);
    let waiting = Registration::parse(rest).zip(serde_json::from_slice(json).ok());
    let (Some(of), Some((registration, waiting))) = (of, waiting) else { return false };
    let Try { user, tries, origin } = waiting;
    of.devices.push(Waiting { registration, user: user.into(), tries, origin: origin.map(Arc::from) });
    true
}

fn owner(json: &[u8]) -> Option<Id> {
    serde_json::from_slice(json).ok().and_then(|Owner { peer }| Id::parse(peer?.as_str()))
}

fn complain(error: &StoreError) {
    tracing::warn!(%error, "what pushes are on their way can't be stored: a restart would not know");
}
