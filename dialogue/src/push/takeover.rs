//! Takeover: finds the pending pushes of nodes that have left the deployment, and claims them for this node.

use std::sync::Arc;

use tokio::{sync::mpsc, time::sleep};

use super::{context::PushContext, pending::PendingPush};
use crate::{
    cluster::{Cluster, JOIN_SETTLE_TIME},
    store::StoreError,
};

/// Sends the pushes that this node takes over to `takeovers`. Runs until it is dropped.
pub(super) async fn take_over_orphans(
    context: Arc<PushContext>,
    cluster: Arc<Cluster>,
    takeovers: mpsc::Sender<PendingPush>,
) {
    let mut departures = cluster.departures();
    loop {
        departures.next().await;
        match claim_orphans(&context, &cluster, &takeovers).await {
            // A takeover may take long. A node that joined and left in the meantime is in no set that was compared: try
            // again.
            Ok(true) => {}
            Ok(false) => departures.set_handled(),
            Err(error) => {
                tracing::warn!(%error, "can't take over the pushes of another node; trying again");
            }
        }
    }
}

/// Claims all orphaned pushes; returns whether there were any.
async fn claim_orphans(
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
