//! Takeover: the work of nodes that have left the deployment is continued by others.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Cluster;
use crate::wire::Id;

/// The interval at which the set of nodes is compared with the last one.
const MEMBERSHIP_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The time after which all nodes know of one that has joined. Until then, its own work looks orphaned to the others.
pub(crate) const JOIN_SETTLE_TIME: Duration = Duration::from_secs(5);

/// The nodes that leave the deployment, whose work this node may have to take over.
pub(crate) struct Departures {
    cluster: Arc<Cluster>,
    ticks: Interval,
    /// The nodes at the last [`next`](Self::next).
    seen: Arc<BTreeSet<Id>>,
    /// The nodes when nothing was left to take over.
    handled: Option<Arc<BTreeSet<Id>>>,
}

impl Cluster {
    /// Returns the departures of nodes from now on.
    pub(crate) fn departures(self: &Arc<Self>) -> Departures {
        let mut ticks = interval(MEMBERSHIP_CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Departures { cluster: Arc::clone(self), ticks, seen: self.nodes(), handled: None }
    }
}

impl Departures {
    /// Waits until there may be work to take over: at first, until that is [handled](Self::set_handled), and whenever a
    /// node has left since.
    pub(crate) async fn next(&mut self) {
        loop {
            self.ticks.tick().await;
            self.seen = self.cluster.nodes();
            match &mut self.handled {
                Some(handled) if self.seen.is_superset(handled) => *handled = Arc::clone(&self.seen),
                _ => return,
            }
        }
    }

    /// Notes that nothing was left to take over from nodes that had left before the last [`next`](Self::next).
    pub(crate) fn set_handled(&mut self) {
        self.handled = Some(Arc::clone(&self.seen));
    }
}
