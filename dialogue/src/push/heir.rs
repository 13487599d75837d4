//! What instances that are gone had on their way: another goes on with it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{lane::Shared, pending::Left};
use crate::{hub::Cluster, store::StoreError, wire::Id};

/// Between two looks at who is there.
const EVERY: Duration = Duration::from_secs(1);
/// Whoever comes is known to all after so long. Until then, what they push looks as if they were gone.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// Hands over what those leave who are gone: at the start, and whenever somebody goes.
pub(super) async fn inherit(shared: Arc<Shared>, peers: Arc<Cluster>, heirs: mpsc::Sender<Left>) {
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: Option<Arc<BTreeSet<Id>>> = None;
    loop {
        looks.tick().await;
        let there = peers.nodes();
        if known.as_ref().is_some_and(|known| there.is_superset(known)) {
            known = Some(there);
            continue;
        }
        match take_over(&shared, &peers, &heirs).await {
            // It may take long, and an instance that came and went meanwhile isn't among those who were there before.
            Ok(true) => {}
            Ok(false) => known = Some(there),
            Err(error) => {
                tracing::warn!(%error, "pushes that other instances left can't be taken over yet");
            }
        }
    }
}

/// Returns whether there was anything to take over.
async fn take_over(shared: &Shared, peers: &Cluster, heirs: &mpsc::Sender<Left>) -> Result<bool, StoreError> {
    let Some(pending) = &shared.pending else { return Ok(false) };
    let mut left = pending.left().await?;
    left.retain(|left| left.is_orphaned(&peers.nodes()));
    if left.is_empty() {
        return Ok(false);
    }
    sleep(KNOWN_WITHIN).await;
    for mut left in left {
        if left.is_orphaned(&peers.nodes()) && pending.claim(&mut left).await? {
            tracing::debug!(room_id = left.told.room_id, "pushes that another instance left are taken over");
            // Without a router, nobody is left to push.
            let _ = heirs.send(left).await;
        }
    }
    Ok(true)
}
