//! A primary with a replica, and the Sentinels that watch over them.

use std::process::{Child, Command, Stdio};

use super::RedisServer;
use crate::{Result, folder::Folder, free_port, until};

const SENTINELS: usize = 3;
/// What a primary may be silent for before Sentinels take it for dead, in milliseconds, as for a Cluster.
const SILENCE: (&str, &str) = ("1000", "30000");

/// Servers that are watched over; they end with this value.
#[derive(Debug)]
pub struct Watched {
    /// The primary at first.
    pub primary: RedisServer,
    /// Its replica at first.
    pub replica: RedisServer,
    ports: Vec<u16>,
    sentinels: Vec<Child>,
    _folder: Folder,
}

impl Watched {
    /// What the Sentinels call the primary.
    pub const NAME: &'static str = "acme";

    /// Starts them all on free ports. The replica takes no place unasked.
    pub async fn start() -> Result<Self> {
        Self::with(&[], SILENCE.1).await
    }

    /// The same where it takes the place of a primary that is dead, or that the machine has no time for.
    pub async fn watchful() -> Result<Self> {
        Self::with(&[], SILENCE.0).await
    }

    /// Watchful ones where a primary that nobody follows takes nothing: one that comes back after its replica took its place
    /// would have a log of its own, until it is told.
    pub async fn careful() -> Result<Self> {
        Self::with(&["--min-replicas-to-write", "1", "--min-replicas-max-lag", "5"], SILENCE.0).await
    }

    async fn with(options: &[&str], silence: &str) -> Result<Self> {
        let options = [&["--save", ""], options].concat();
        let primary = RedisServer::with(&options).await?;
        let of = format!("127.0.0.1 {}", primary.port);
        let replica = RedisServer::with(&[&options[..], &["--replicaof", &of]].concat()).await?;
        until("the replica follows", async || replica.is_replica().await).await?;
        let folder = Folder::new()?;
        let (mut ports, mut sentinels) = (Vec::new(), Vec::new());
        for _ in 0..SENTINELS {
            let port = free_port()?;
            sentinels.push(sentinel(&folder, port, primary.port, silence)?);
            ports.push(port);
        }
        let watched = Watched { primary, replica, ports, sentinels, _folder: folder };
        watched.know_each_other().await?;
        Ok(watched)
    }

    /// The Sentinels' URLs.
    pub fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect()
    }

    /// Makes the replica the primary, in good order.
    pub async fn retire_primary(&mut self) -> Result {
        let port = self.ports[0];
        let [next, _] = self.primary_last().await?;
        until("a failover ends", async || {
            let is_done = names(port, next).await;
            if !is_done {
                // It is refused while one is under way, and may be given up.
                asked(next, port, "failover").await;
            }
            is_done
        })
        .await?;
        self.settled().await
    }

    /// Kills the primary, waits until the other one is, and starts it again.
    pub async fn replace_primary(&mut self) -> Result {
        let ports = self.ports.clone();
        let [next, primary] = self.primary_last().await?;
        primary.kill()?;
        is_named(next, &ports).await?;
        primary.restart().await?;
        self.settled().await
    }

    /// Waits until one follows the other, which every Sentinel calls the primary. A busy machine makes Sentinels take a
    /// primary for dead: then they turn a failover round, and the one that was told to follow leads.
    async fn settled(&self) -> Result {
        until("one follows the other, which is the primary", async || {
            let (one, other) = (&self.primary, &self.replica);
            let (primary, follower) =
                if names(self.ports[0], one).await { (one, other) } else { (other, one) };
            if !is_primary_for(primary, &self.ports).await {
                return false;
            }
            if follower.is_primary().await {
                // Sentinels would do this after some ten seconds, in which a careful primary takes nothing.
                let port = primary.port.to_string();
                let _ = follower.cli(&["replicaof", "127.0.0.1", &port]).await;
            }
            follower.follows(primary).await
        })
        .await
    }

    /// Both, once one follows the other: the primary last.
    async fn primary_last(&mut self) -> Result<[&mut RedisServer; 2]> {
        let (one, other) = (&mut self.primary, &mut self.replica);
        until("one follows the other", async || one.is_replica().await || other.is_replica().await).await?;
        Ok(if one.is_replica().await { [one, other] } else { [other, one] })
    }

    async fn know_each_other(&self) -> Result {
        let others = format!("num-other-sentinels\n{}", SENTINELS - 1);
        until("the Sentinels know each other and the replica", async || {
            for port in &self.ports {
                let said = asked(&self.primary, *port, "master").await;
                if !said.contains(&others) || !said.contains("num-slaves\n1") {
                    return false;
                }
            }
            true
        })
        .await
    }
}

/// What the Sentinel at a port answers to a question about the primary.
async fn asked(by: &RedisServer, sentinel: u16, question: &str) -> String {
    let port = sentinel.to_string();
    by.cli(&["-p", &port, "sentinel", question, Watched::NAME]).await.unwrap_or_default()
}

/// Whether a Sentinel says that this server is the primary.
async fn names(sentinel: u16, server: &RedisServer) -> bool {
    asked(server, sentinel, "get-master-addr-by-name").await == format!("127.0.0.1\n{}", server.port)
}

/// Waits until a server is the primary, by its own word and by that of every Sentinel.
async fn is_named(server: &RedisServer, sentinels: &[u16]) -> Result {
    until("the other one is the primary", async || is_primary_for(server, sentinels).await).await
}

async fn is_primary_for(server: &RedisServer, sentinels: &[u16]) -> bool {
    for sentinel in sentinels {
        if !names(*sentinel, server).await {
            return false;
        }
    }
    server.is_primary().await
}

fn sentinel(folder: &Folder, port: u16, primary: u16, silence: &str) -> Result<Child> {
    let name = Watched::NAME;
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {name} 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds {name} {silence}\nsentinel failover-timeout {name} 3000\n",
        folder.path().display()
    );
    let path = folder.write(&format!("{port}.conf"), &text)?;
    let child = Command::new("redis-sentinel").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    child.map_err(|error| {
        format!("can't start redis-sentinel: {error}; install the package redis-sentinel").into()
    })
}

impl Drop for Watched {
    fn drop(&mut self) {
        for sentinel in &mut self.sentinels {
            let _ = sentinel.kill();
            let _ = sentinel.wait();
        }
    }
}
