//! The requests that wait for responses of other nodes, and the nodes that were seen recently.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use super::NodeResponse;
use crate::{collections::HashMap, wire::Id};

/// Requests that wait for responses, and limits on those that are being served.
pub(super) struct PendingRequests {
    pub(super) awaiting: Mutex<HashMap<Box<str>, ResponseSender>>,
    pub(super) serving: Arc<Semaphore>,
    /// Nodes that joined recently and may not be in the backplane's list yet.
    pub(super) joined: Mutex<HashMap<Id, Instant>>,
    /// Nodes that published members and aren't in the backplane's list, which may be a moment old. They may also have
    /// left: no request waits for their responses.
    pub(super) unlisted: Mutex<HashMap<Id, Instant>>,
}

/// The receiver of the responses to a request, each with its node.
pub(super) type ResponseSender = mpsc::Sender<(Id, NodeResponse)>;

/// The time for which a node counts as recently joined or unlisted.
const RECENT_NODE_AGE: Duration = Duration::from_secs(5);
/// Requests of other nodes served at the same time; more are dropped.
const MAX_CONCURRENT_REQUESTS: usize = 256;

impl Default for PendingRequests {
    fn default() -> Self {
        let serving = Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS));
        PendingRequests {
            awaiting: Mutex::default(),
            serving,
            joined: Mutex::default(),
            unlisted: Mutex::default(),
        }
    }
}

/// Notes a recently seen node, up to a bounded number of them.
pub(super) fn note_recent(nodes: &Mutex<HashMap<Id, Instant>>, node: Id) {
    let mut nodes = nodes.lock();
    nodes.retain(|_, noted| noted.elapsed() < RECENT_NODE_AGE);
    if nodes.len() < MAX_CONCURRENT_REQUESTS {
        nodes.insert(node, Instant::now());
    }
}

/// Returns the nodes that were noted recently.
pub(super) fn recent(nodes: &Mutex<HashMap<Id, Instant>>) -> Vec<Id> {
    let nodes = nodes.lock();
    nodes.iter().filter(|(_, noted)| noted.elapsed() < RECENT_NODE_AGE).map(|(node, _)| *node).collect()
}
