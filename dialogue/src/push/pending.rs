//! Pushes that are on their way, in a store that outlives the process.
//!
//! ```text
//! push/pending/ROUND/0                             an event, and how far its devices are done with
//! push/pending/ROUND/PROVIDER/HASH/GENERATION      a device that is to be tried again
//! ```

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    chain::Chain,
    device::Registration,
    devices::Entry,
    round::{Round, Told},
};
use crate::store::{AnyStore, StoreError};

pub(super) struct Pending {
    store: Arc<dyn AnyStore>,
}

/// What was on its way when the process ended.
#[derive(Debug)]
pub(super) enum Left {
    Round(Told),
    /// Of the round before it.
    Chain {
        registration: Registration,
        user: Arc<str>,
        tries: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct Try {
    user: String,
    tries: u32,
}

const PREFIX: &str = "push/pending/";
const PAGE: usize = 512;

impl Pending {
    pub(super) fn new(store: Arc<dyn AnyStore>) -> Self {
        Pending { store }
    }

    /// An event is on its way, as far as it is.
    pub(super) async fn keep(&self, round: &Round) {
        let Ok(json) = serde_json::to_vec(&round.told()) else { return };
        self.put(vec![(of_round(&round.id), Some(json.into()))]).await;
    }

    /// All of its devices are done with.
    pub(super) async fn done(&self, rounds: Vec<String>) {
        self.put(rounds.iter().map(|round| (of_round(round), None)).collect()).await;
    }

    /// A device is to be tried again.
    pub(super) async fn waits(&self, chain: &Chain) {
        let waiting = Try { user: chain.entry.user.as_ref().to_owned(), tries: chain.tries };
        let Ok(json) = serde_json::to_vec(&waiting) else { return };
        self.put(vec![(of_chain(chain), Some(json.into()))]).await;
    }

    /// It was.
    pub(super) async fn ended(&self, chain: &Chain) {
        self.put(vec![(of_chain(chain), None)]).await;
    }

    /// What was on its way when the process ended: each event, followed by its devices.
    pub(super) async fn left(&self) -> Result<Vec<Left>, StoreError> {
        let (mut left, mut after): (Vec<Left>, Option<String>) = (Vec::new(), None);
        loop {
            let page = self.store.scan(PREFIX, after.as_deref(), PAGE).await?;
            left.extend(page.iter().filter_map(|(key, json)| parse(key, json)));
            match page.into_iter().last() {
                Some((last, _)) => after = Some(last),
                None => return Ok(left),
            }
        }
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) {
        if let Err(error) = self.store.put(records).await {
            tracing::warn!(%error, "what pushes are on their way can't be stored: a restart would not know");
        }
    }
}

fn of_round(round: &str) -> String {
    format!("{PREFIX}{round}/0")
}

fn of_chain(chain: &Chain) -> String {
    format!("{PREFIX}{}/{}", chain.round.id, chain.entry.registration)
}

fn parse(key: &str, json: &[u8]) -> Option<Left> {
    let (_, rest) = key.strip_prefix(PREFIX)?.split_once('/')?;
    if rest == "0" {
        return serde_json::from_slice(json).ok().map(Left::Round);
    }
    let Try { user, tries } = serde_json::from_slice(json).ok()?;
    Some(Left::Chain { registration: Registration::parse(rest)?, user: user.into(), tries })
}

impl Left {
    /// Its chain, in the round that it is of.
    pub(super) fn of(registration: Registration, user: Arc<str>, tries: u32, round: Arc<Round>) -> Chain {
        Chain { round, entry: Entry { registration, user }, tries, recorded: true }
    }
}
