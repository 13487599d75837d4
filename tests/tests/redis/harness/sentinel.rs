//! A primary with a replica, and the Sentinels that watch over them.

use std::process::{Child, Command, Stdio};

use super::{RedisServer, Result, folder::Folder, free_port, until};

/// What the Sentinels call the primary.
const NAME: &str = "acme";
const SENTINELS: usize = 3;

pub(crate) struct Watched {
    pub(crate) primary: RedisServer,
    pub(crate) replica: RedisServer,
    ports: Vec<u16>,
    sentinels: Vec<Child>,
    _folder: Folder,
}

impl Watched {
    pub(crate) const NAME: &'static str = NAME;

    pub(crate) async fn start() -> Result<Self> {
        let primary = RedisServer::start().await?;
        let of = format!("127.0.0.1 {}", primary.port);
        let replica = RedisServer::with(&["--save", "", "--replicaof", &of]).await?;
        until("the replica follows", async || {
            replica
                .cli(&["info", "replication"])
                .await
                .is_ok_and(|info| info.contains("master_link_status:up"))
        })
        .await?;
        let folder = Folder::new()?;
        let (mut ports, mut sentinels) = (Vec::new(), Vec::new());
        for _ in 0..SENTINELS {
            let port = free_port()?;
            sentinels.push(sentinel(&folder, port, primary.port)?);
            ports.push(port);
        }
        let watched = Watched { primary, replica, ports, sentinels, _folder: folder };
        watched.know_each_other().await?;
        Ok(watched)
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect()
    }

    async fn know_each_other(&self) -> Result {
        let others = format!("num-other-sentinels\n{}", SENTINELS - 1);
        until("the Sentinels know each other and the replica", async || {
            for port in &self.ports {
                let port = port.to_string();
                let said =
                    self.primary.cli(&["-p", &port, "sentinel", "master", NAME]).await.unwrap_or_default();
                if !said.contains(&others) || !said.contains("num-slaves\n1") {
                    return false;
                }
            }
            true
        })
        .await
    }
}

fn sentinel(folder: &Folder, port: u16, primary: u16) -> Result<Child> {
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 3000\n",
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
