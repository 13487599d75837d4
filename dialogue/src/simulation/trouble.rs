//! What befalls a deployment in a run.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use super::{
    application::{DELETED_ROOM, ROOMS},
    network::LinkFault,
    plan::Trouble,
    world::{NODES, World},
};

impl World {
    /// Lets something happen that a deployment has to bear.
    pub(super) async fn cause_trouble(&self, rng: &mut Rng) {
        let node = rng.usize(..NODES);
        match self.plan.next(rng) {
            Trouble::Kill => self.kill(node),
            Trouble::Start => {
                for node in 0..NODES {
                    self.start(node).await;
                }
            }
            Trouble::FailOver => self.fail_over(rng).await,
            Trouble::Delete => self.delete_a_room(node).await,
            Trouble::Link(fault) => {
                let mut truth = self.truth.lock();
                truth.counts.faults += 1;
                truth.note(|| format!("the link of node {node} is {fault:?}"));
                self.nodes.lock()[node].link.set_fault(Some(fault));
            }
            Trouble::Heal => {
                self.truth.lock().note(|| "all links heal".to_owned());
                self.heal();
            }
        }
    }

    /// Ends a node without a word to anybody.
    fn kill(&self, node: usize) {
        let mut nodes = self.nodes.lock();
        if nodes[node].server.take().is_some() {
            let mut truth = self.truth.lock();
            truth.counts.faults += 1;
            truth.note(|| format!("node {node} dies"));
        }
        nodes[node].link.set_fault(Some(LinkFault::Dead));
        nodes[node].connections.drain(..).for_each(|connection| connection.abort());
    }

    fn heal(&self) {
        self.nodes.lock().iter().for_each(|node| node.link.set_fault(None));
    }

    /// Another store takes over, which lacks what was written last.
    async fn fail_over(&self, rng: &mut Rng) {
        self.nodes.lock().iter().for_each(|node| node.link.set_fault(Some(LinkFault::Refused)));
        sleep(Duration::from_millis(rng.u64(10..3_000))).await;
        let records = match rng.bool() {
            true => {
                let lag = Duration::from_millis(rng.u64(..5_000));
                self.store.lose_records(lag).await.expect("a store in memory")
            }
            false => Vec::new(),
        };
        let mut truth = self.truth.lock();
        truth.counts.faults += 1;
        if !records.is_empty() {
            truth.lost_records();
            truth.note(|| format!("the store loses the records {records:?}"));
        }
        for room in ROOMS {
            let lost = self.store.lose_tail(room, rng.usize(..4));
            truth.note(|| {
                let lost: Vec<_> = lost.iter().map(|event| (event.seq, event.event_id.as_str())).collect();
                format!("{room} loses {lost:?}")
            });
            truth.lost(room, &lost);
        }
        drop(truth);
        self.heal();
    }

    /// The application deletes a room at one of its nodes.
    async fn delete_a_room(&self, node: usize) {
        let Some(server) = self.nodes.lock()[node].server.clone() else { return };
        let project = server.project(1);
        self.truth.lock().deleted(DELETED_ROOM, false);
        let deleted = project.delete().await;
        let mut truth = self.truth.lock();
        truth.deleted(DELETED_ROOM, true);
        truth.note(|| format!("node {node} deletes {DELETED_ROOM}: {deleted:?}"));
    }
}
