//! Three primaries and three replicas.

use super::{RedisServer, Result, free_port, until};

pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

/// What a node may be silent for before the others take it for dead.
const TIMEOUT_MS: &str = "1500";

impl RedisCluster {
    pub(crate) async fn start() -> Result<Self> {
        let mut nodes = Vec::new();
        for _ in 0..6 {
            let bus = free_port()?.to_string();
            let options = ["--save", "", "--cluster-enabled", "yes", "--cluster-node-timeout", TIMEOUT_MS];
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

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// The place among the nodes of the primary that has `key`.
    pub(crate) async fn primary_of(&self, key: &str) -> Result<usize> {
        for (place, node) in self.nodes.iter().enumerate() {
            // Others say MOVED.
            let said = node.cli(&["get", key]).await?;
            if !said.contains("MOVED") && node.cli(&["role"]).await?.starts_with("master") {
                return Ok(place);
            }
        }
        Err("nobody has the key".into())
    }
}
