//! One `redis-server`.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
};

use super::{Result, folder::Folder, until};

/// A running server; it is killed with this value.
pub(crate) struct RedisServer {
    pub(crate) port: u16,
    options: Vec<String>,
    /// What `redis-cli` needs to be let in.
    access: Vec<String>,
    folder: Folder,
    child: Child,
}

/// A port that nobody listens on now, and that no other test was given: its server may not listen yet.
pub(crate) fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if GIVEN.lock().map_err(|_| "a test failed here")?.insert(port) {
            return Ok(port);
        }
    }
}

impl RedisServer {
    /// Starts one that keeps nothing on disk.
    pub(crate) async fn start() -> Result<Self> {
        RedisServer::with(&["--save", "", "--appendonly", "no"]).await
    }

    /// Starts one that has every write on its disk before it answers.
    pub(crate) async fn durable() -> Result<Self> {
        RedisServer::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// Starts a Cluster of one.
    pub(crate) async fn with_all_slots() -> Result<Self> {
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
    pub(crate) async fn with(options: &[&str]) -> Result<Self> {
        RedisServer::letting_in(options, &[]).await
    }

    /// Starts one where `redis-cli` has to show something.
    pub(crate) async fn letting_in(options: &[&str], access: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (options, access, folder) = (owned(options), owned(access), Folder::new()?);
        let child = spawn(port, &options, &folder)?;
        let mut server = RedisServer { port, options, access, folder, child };
        server.answers().await?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` prints for a command.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> Result<String> {
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

    /// Sends SIGKILL.
    pub(crate) fn kill(&mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after a [`kill`](Self::kill), with what is on its disk.
    pub(crate) async fn restart(&mut self) -> Result {
        self.child = spawn(self.port, &self.options, &self.folder)?;
        self.answers().await
    }

    /// Sends a signal: `STOP` and `CONT` make it hang for a while.
    pub(crate) fn signal(&self, name: &str) -> Result {
        Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        Ok(())
    }

    async fn answers(&mut self) -> Result {
        until("the server answers", async || matches!(self.cli(&["ping"]).await.as_deref(), Ok("PONG"))).await
    }
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
