//! One `redis-server`.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use crate::{Result, folder::Folder, free_port, until};

/// A running server; it is killed with this value.
#[derive(Debug)]
pub struct RedisServer {
    /// Where it listens.
    pub port: u16,
    options: Vec<String>,
    /// What `redis-cli` needs to be let in.
    access: Vec<String>,
    folder: Folder,
    child: Child,
}

impl RedisServer {
    /// Starts one that keeps nothing on disk.
    pub async fn start() -> Result<Self> {
        RedisServer::with(&["--save", "", "--appendonly", "no"]).await
    }

    /// Starts one that has every write on its disk before it answers, and that leaves the mending of a torn file to
    /// `redis-check-aof`.
    pub async fn durable() -> Result<Self> {
        RedisServer::with(&[
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--aof-load-truncated",
            "no",
        ])
        .await
    }

    /// Starts a Cluster of one.
    pub async fn with_all_slots() -> Result<Self> {
        let bus = free_port()?.to_string();
        let server =
            RedisServer::with(&["--save", "", "--cluster-enabled", "yes", "--cluster-port", &bus]).await?;
        server.cli(&["cluster", "addslotsrange", "0", "16383"]).await?;
        until("the Cluster is well", async || {
            server.cli(&["cluster", "info"]).await.is_ok_and(|info| info.contains("cluster_state:ok"))
        })
        .await?;
        Ok(server)
    }

    /// Starts one with these options of `redis.conf`.
    pub async fn with(options: &[&str]) -> Result<Self> {
        RedisServer::letting_in(options, &[]).await
    }

    /// Starts one where `redis-cli` has to show something.
    pub async fn letting_in(options: &[&str], access: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (options, access, folder) = (owned(options), owned(access), Folder::new()?);
        let child = spawn(port, &options, &folder)?;
        let mut server = RedisServer { port, options, access, folder, child };
        server.answers().await?;
        Ok(server)
    }

    /// Where a client connects.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` prints for a command.
    pub async fn cli(&self, arguments: &[&str]) -> Result<String> {
        let (port, access) = (self.port.to_string(), self.access.clone());
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let output = tokio::task::spawn_blocking(move || -> std::io::Result<Output> {
            Command::new("redis-cli")
                .args(["--no-auth-warning", "-p", &port])
                .args(access)
                .args(arguments)
                .output()
        });
        Ok(String::from_utf8(output.await??.stdout)?.trim_end().to_owned())
    }

    /// Whether it takes writes, by its own word.
    pub async fn is_primary(&self) -> bool {
        self.cli(&["role"]).await.is_ok_and(|role| role.starts_with("master"))
    }

    /// Whether it follows a primary, and keeps up.
    pub async fn is_replica(&self) -> bool {
        let info = self.cli(&["info", "replication"]).await;
        info.is_ok_and(|info| info.contains("master_link_status:up"))
    }

    /// Whether it follows that one, and keeps up.
    pub(super) async fn follows(&self, primary: &RedisServer) -> bool {
        let info = self.cli(&["info", "replication"]).await.unwrap_or_default();
        let port = format!("master_port:{}", primary.port);
        info.lines().any(|line| line == port) && info.contains("master_link_status:up")
    }

    /// Waits until a replica has all that was written here so far. `WAIT` knows only what its own connection wrote.
    pub async fn is_copied(&self) -> Result {
        let info = self.cli(&["info", "replication"]).await?;
        let written = number(&info, "master_repl_offset:").ok_or("no offset")?;
        until("a replica has what was written", async || {
            let info = self.cli(&["info", "replication"]).await.unwrap_or_default();
            let mut replicas =
                info.lines().filter(|line| line.starts_with("slave") && line.contains("state=online"));
            replicas.any(|replica| number(replica, ",offset=").is_some_and(|offset| offset >= written))
        })
        .await
    }

    /// Sends what is in a slot to another node; whether nothing is left.
    pub(super) async fn hands_over(&self, slot: &str, to: &RedisServer) -> Result<bool> {
        let keys = self.cli(&["cluster", "getkeysinslot", slot, "100"]).await?;
        let keys: Vec<_> = keys.lines().filter(|key| !key.is_empty()).collect();
        if keys.is_empty() {
            return Ok(true);
        }
        let port = to.port.to_string();
        let migrate = ["migrate", "127.0.0.1", &port, "", "0", "5000", "replace", "keys"];
        match self.cli(&[&migrate[..], &keys].concat()).await?.as_str() {
            "OK" | "NOKEY" => Ok(false),
            refused => Err(refused.into()),
        }
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after a [`kill`](Self::kill), with what is on its disk; a torn file is mended first.
    pub async fn restart(&mut self) -> Result {
        let manifest = self.folder.path().join("appendonlydir/appendonly.aof.manifest");
        if manifest.exists() {
            mend(&manifest)?;
        }
        self.child = spawn(self.port, &self.options, &self.folder)?;
        self.answers().await
    }

    /// Sends a signal: `STOP` and `CONT` make it hang for a while.
    pub fn signal(&self, name: &str) -> Result {
        Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        Ok(())
    }

    async fn answers(&mut self) -> Result {
        until("the server answers", async || matches!(self.cli(&["ping"]).await.as_deref(), Ok("PONG"))).await
    }
}

/// The number that follows `name` in what Redis tells.
fn number(text: &str, name: &str) -> Option<u64> {
    let digits = text.split_once(name)?.1;
    digits.split(|sign: char| !sign.is_ascii_digit()).next()?.parse().ok()
}

/// What somebody does whose Redis was killed in the middle of a write: `redis-check-aof` cuts the file before the
/// transaction that is torn.
fn mend(manifest: &Path) -> Result {
    let checked = Command::new("redis-check-aof")
        .arg("--fix")
        .arg(manifest)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let mut checking = checked.map_err(|error| format!("can't start redis-check-aof: {error}"))?;
    if let Some(mut answers) = checking.stdin.take() {
        // It asks before it cuts, and only then.
        let _ = answers.write_all(b"y\n");
    }
    if checking.wait()?.success() { Ok(()) } else { Err("redis-check-aof can't mend the file".into()) }
}

fn spawn(port: u16, options: &[String], folder: &Folder) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log"))?;
    let (port, path) = (port.to_string(), folder.path().display().to_string());
    let child = Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1", "--dir", &path])
        .args(options)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    child.map_err(|error| {
        format!("can't start redis-server: {error}; install the package redis-server").into()
    })
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // One that was stopped dies of this too.
        let _ = self.kill();
    }
}
