//! Takeover: finds the pending pushes of nodes that have left the deployment, and claims them for this node.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{context::PushContext, pending::PendingPush};
use crate::{live::Cluster, store::StoreError, wire::Id};

/// The interval at which the set of nodes is compared with the last one.
const MEMBERSHIP_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The time after which all nodes know of one that has joined. Until then, its own pushes look orphaned to the others.
const JOIN_SETTLE_TIME: Duration = Duration::from_secs(5);

/// Sends the pushes that this node takes over to `takeovers`: once at the start, and whenever a node has left. Runs
/// until it is dropped.
pub(super) async fn take_over_orphans(
    context: Arc<PushContext>,
    cluster: Arc<Cluster>,
    takeovers: mpsc::Sender<PendingPush>,
) {
    let mut ticks = interval(MEMBERSHIP_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: Option<Arc<BTreeSet<Id>>> = None;
    loop {
        ticks.tick().await;
        let nodes = cluster.nodes();
        if known.as_ref().is_some_and(|known| nodes.is_superset(known)) {
            known = Some(nodes);
            continue;
        }
        match take_over(&context, &cluster, &takeovers).await {
            // A takeover may take long. A node that joined and left in the meantime is in no set that was compared: try
            // again.
            Ok(true) => {}
            Ok(false) => known = Some(nodes),
            Err(error) => {
                tracing::warn!(%error, "can't take over the pushes of another node; trying again");
            }
        }
    }
}

/// Claims all orphaned pushes; returns whether there were any.
async fn take_over(
    context: &PushContext,
    cluster: &Cluster,
    takeovers: &mpsc::Sender<PendingPush>,
) -> Result<bool, StoreError> {
    let Some(pending) = &context.pending else { return Ok(false) };
    let mut pushes = pending.scan().await?;
    pushes.retain(|push| push.is_orphaned(&cluster.nodes()));
    if pushes.is_empty() {
        return Ok(false);
    }
    sleep(JOIN_SETTLE_TIME).await;
    for mut push in pushes {
        if push.is_orphaned(&cluster.nodes()) && pending.claim(&mut push).await? {
            tracing::debug!(room_id = push.event.room_id, "taking over pushes of another node");
            // Fails only if the scheduler has ended, which ends this task too.
            let _ = takeovers.send(push).await;
        }
    }
    Ok(true)
}
