//! The conformance server as a process of its own, for what ends with the process.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, sync::OnceLock};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{Result, soon};

/// A running process; it is killed with this value.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    child: Child,
    /// What `STORE` is.
    store: String,
}

impl Process {
    /// Starts it at a free port.
    pub(crate) async fn start() -> Result<Self> {
        Self::over("memory").await
    }

    /// Starts it at a free port, over a store that `STORE` names.
    pub(crate) async fn over(store: &str) -> Result<Self> {
        Self::at("127.0.0.1:0", store.to_owned()).await
    }

    async fn at(address: &str, store: String) -> Result<Self> {
        let binary = tokio::task::spawn_blocking(binary).await??;
        let mut child = Command::new(binary)
            .env("ADDR", address)
            .env("SERVER_KEY", Self::KEY)
            .env("STORE", &store)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let line = soon("it says where it listens", out.next_line()).await??.unwrap_or_default();
        let address = line.strip_prefix("listening on http://").ok_or(line.clone())?.parse()?;
        Ok(Process { address, child, store })
    }

    /// What lets a request act as the application's own backend.
    pub(crate) const KEY: &'static str = "a key for this test only";

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&self) -> Result {
        let id = self.child.id().ok_or("it has ended already")?;
        Command::new("kill").arg(id.to_string()).status().await?;
        Ok(())
    }

    /// Waits for its end; whether it went well.
    pub(crate) async fn ended(mut self) -> Result<bool> {
        Ok(soon("the process ends", self.child.wait()).await??.success())
    }

    /// Sends SIGKILL, and starts it again at the same address and over the same store.
    pub(crate) async fn kill_and_restart(mut self) -> Result<Self> {
        self.child.kill().await?;
        Self::at(&self.address.to_string(), self.store).await
    }
}

/// The conformance server: in the folder that `EXAMPLES` names, or built once, where this test was built.
fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    Ok(BINARY.get_or_init(|| build().map_err(|error| error.to_string())).clone()?)
}

fn build() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("EXAMPLES") {
        return Ok(PathBuf::from(folder).join("conformance"));
    }
    // This test is TARGET/PROFILE/deps/sockets-HASH.
    let test = std::env::current_exe()?;
    let target = test.ancestors().nth(3).ok_or("the test is in no target folder")?;
    let done = std::process::Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "dialogue-examples",
            "--example",
            "conformance",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    let built = if done.success() { Ok(()) } else { Err("the conformance server doesn't build") };
    built?;
    Ok(target.join("debug/examples/conformance"))
}
