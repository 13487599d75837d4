//! Three primaries and three replicas.

use super::RedisServer;
use crate::{Result, free_port, until};

/// A running Cluster; it ends with this value.
#[derive(Debug)]
pub struct RedisCluster {
    /// At first, three primaries, then their replicas.
    pub nodes: Vec<RedisServer>,
}

/// What a node may be silent for before the others take it for dead, in milliseconds: where one is to be found dead soon, and
/// where none is to be, however busy the machine.
const TIMEOUT: (&str, &str) = ("1500", "30000");

impl RedisCluster {
    /// Starts one on free ports that keeps nothing on disk. No replica takes a place unasked.
    pub async fn start() -> Result<Self> {
        Self::with(TIMEOUT.1).await
    }

    /// The same where a replica takes the place of a primary that is dead, or that the machine has no time for.
    pub async fn watchful() -> Result<Self> {
        Self::with(TIMEOUT.0).await
    }

    async fn with(timeout: &str) -> Result<Self> {
        let mut nodes = Vec::new();
        for _ in 0..6 {
            let bus = free_port()?.to_string();
            let options = ["--save", "", "--cluster-enabled", "yes", "--cluster-node-timeout", timeout];
            nodes.push(RedisServer::with(&[&options[..], &["--cluster-port", &bus]].concat()).await?);
        }
        let cluster = RedisCluster { nodes };
        cluster.join().await?;
        Ok(cluster)
    }

    async fn join(&self) -> Result {
        let addresses: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        let create =
            [&["--cluster", "create"], &addresses[..], &["--cluster-replicas", "1", "--cluster-yes"]];
        let first = self.nodes.first().ok_or("no nodes")?;
        let said = first.cli(&create.concat()).await?;
        if !said.contains("All 16384 slots covered") {
            return Err(format!("the Cluster did not come about: {said}").into());
        }
        until("every node knows the Cluster, and its replicas", async || {
            for node in &self.nodes {
                let info = node.cli(&["cluster", "info"]).await.unwrap_or_default();
                let nodes = node.cli(&["cluster", "nodes"]).await.unwrap_or_default();
                if !info.contains("cluster_state:ok") || nodes.matches("slave ").count() != 3 {
                    return false;
                }
            }
            true
        })
        .await
    }

    /// The nodes' URLs.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// Moves the slot of `key`, with all that is in it, to another primary.
    pub async fn move_slot(&self, key: &str) -> Result {
        // Who has it may be another one in the middle of that.
        until("the slot is elsewhere", async || self.try_to_move_slot(key).await.is_ok()).await
    }

    async fn try_to_move_slot(&self, key: &str) -> Result {
        let place = self.primary_of(key).await?;
        let from = &self.nodes[place];
        let to = self.other_primary(place).await?;
        let slot = from.cli(&["cluster", "keyslot", key]).await?;
        let (from_id, to_id) = (from.cli(&["cluster", "myid"]).await?, to.cli(&["cluster", "myid"]).await?);
        to.cli(&["cluster", "setslot", &slot, "importing", &from_id]).await?;
        from.cli(&["cluster", "setslot", &slot, "migrating", &to_id]).await?;
        while !from.hands_over(&slot, to).await? {}
        // Each once: whoever listens is put out every time.
        for node in [to, from] {
            node.cli(&["cluster", "setslot", &slot, "node", &to_id]).await?;
        }
        until("every node knows where it is", async || {
            for node in &self.nodes {
                let said = node.cli(&["get", key]).await.unwrap_or_default();
                if node.port != to.port && !said.ends_with(&format!(":{}", to.port)) {
                    return false;
                }
            }
            true
        })
        .await
    }

    /// Makes the replica of a primary the primary, in good order: nothing that was acknowledged is lost.
    pub async fn retire(&self, primary: usize) -> Result {
        let replica = self.replica_of(primary).await?;
        until("its replica takes over", async || {
            // It may be refused while the nodes agree on something else.
            let _ = self.nodes[replica].cli(&["cluster", "failover"]).await;
            self.nodes[replica].is_primary().await
        })
        .await
    }

    /// Kills a primary, once a replica of it keeps up, which can take its place.
    pub async fn kill(&mut self, primary: usize) -> Result {
        self.replica_of(primary).await?;
        self.nodes[primary].kill()
    }

    /// Kills a primary, waits until its replica has taken over, and starts it again as the replica of that.
    pub async fn replace(&mut self, primary: usize) -> Result {
        let replica = self.replica_of(primary).await?;
        self.kill(primary).await?;
        let next = &self.nodes[replica];
        until("its replica takes over", async || next.is_primary().await).await?;
        self.nodes[primary].restart().await
    }

    /// The place of the replica that a primary has, once it keeps up.
    async fn replica_of(&self, primary: usize) -> Result<usize> {
        let of = format!("\n{}\nconnected", self.nodes[primary].port);
        let mut found = 0;
        until("the primary has a replica", async || {
            for (place, node) in self.nodes.iter().enumerate() {
                if node.cli(&["role"]).await.is_ok_and(|role| role.starts_with("slave") && role.contains(&of))
                {
                    found = place;
                    return true;
                }
            }
            false
        })
        .await?;
        Ok(found)
    }

    async fn other_primary(&self, place: usize) -> Result<&RedisServer> {
        for next in (1..self.nodes.len()).map(|step| &self.nodes[(place + step) % self.nodes.len()]) {
            if next.is_primary().await {
                return Ok(next);
            }
        }
        Err("there is no other primary".into())
    }

    /// The place among the nodes of the primary that has `key`, once somebody has.
    pub async fn primary_of(&self, key: &str) -> Result<usize> {
        let mut found = 0;
        until("somebody has the key", async || {
            for (place, node) in self.nodes.iter().enumerate() {
                // Others say MOVED.
                let said = node.cli(&["get", key]).await.unwrap_or_default();
                if !said.contains("MOVED") && node.is_primary().await {
                    found = place;
                    return true;
                }
            }
            false
        })
        .await?;
        Ok(found)
    }
}
