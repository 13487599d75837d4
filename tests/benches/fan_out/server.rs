//! The servers that are compared, each a process of its own.

use std::{
    env, error,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::{dialect::Dialect, process::run_on};

/// One of those that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// Ours: the conformance server.
    Dialogue,
    /// Written by hand with axum and `tokio::sync::broadcast`.
    Broadcast,
    /// The same with `TCP_NODELAY`, as ours.
    BroadcastAtOnce,
    /// One thread that does nothing but write.
    Floor,
}

/// A server that runs, until this is dropped.
pub(crate) struct Running {
    pub(crate) dialect: Dialect,
    pub(crate) address: SocketAddr,
    child: Child,
    /// Held, so that it may print.
    _output: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) const ALL: [Server; 4] =
        [Server::Dialogue, Server::Broadcast, Server::BroadcastAtOnce, Server::Floor];

    /// As the table and the command line call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Server::Dialogue => "dialogue",
            Server::Broadcast => "axum-broadcast",
            Server::BroadcastAtOnce => "axum-broadcast-nodelay",
            Server::Floor => "floor",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|server| server.name() == name)
    }

    /// Starts it on the first CPU; the load is on the second. Both compete for one where there is only one.
    pub(crate) fn start(self, conformance: &PathBuf) -> Result<Running, Box<dyn error::Error>> {
        let (dialect, mut command) = match self {
            Server::Dialogue => (Dialect::Dialogue, Command::new(conformance)),
            peer => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["--serve", peer.name()]);
                (Dialect::Plain, command)
            }
        };
        run_on(0);
        let started = command.env("ADDR", "127.0.0.1:0").stdout(Stdio::piped()).spawn();
        run_on(1);
        let mut child = started?;
        let output = child.stdout.take().ok_or("the server has no output")?;
        let mut running =
            Running { dialect, address: ([127, 0, 0, 1], 0).into(), child, _output: BufReader::new(output) };
        let mut line = String::new();
        running._output.read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://").ok_or("the server does not listen")?;
        running.address = address.parse()?;
        Ok(running)
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds our server as it is shipped, and says where it is.
pub(crate) fn build() -> Result<PathBuf, Box<dyn error::Error>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--package", "conformance"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the conformance server does not build".into());
    }
    let built = String::from_utf8(output.stdout)?;
    let executable = built.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == "conformance";
        message["executable"].as_str().filter(|_| ours).map(PathBuf::from)
    });
    executable.ok_or_else(|| "cargo names no conformance server".into())
}
