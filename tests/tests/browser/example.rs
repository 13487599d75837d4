//! An example of this workspace as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::page::{PATIENCE, Result, eventually};

/// A running example; it ends with this value.
pub(crate) struct Example {
    binary: PathBuf,
    addr: String,
    settings: Settings,
    process: Child,
}

/// Variables of its environment beside `ADDR`.
type Settings = Vec<(&'static str, String)>;

impl Example {
    /// Builds the example if need be, and starts it on a free port.
    pub(crate) async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, &[]).await
    }

    pub(crate) async fn start_with(name: &str, settings: &[(&'static str, &str)]) -> Result<Self> {
        let settings: Settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let name = name.to_owned();
        let binary = tokio::task::spawn_blocking(move || dialogue_tests::example(&name)).await??;
        let addr = format!("127.0.0.1:{}", dialogue_tests::free_port()?);
        let process = spawn(&binary, &addr, &settings).await?;
        Ok(Self { binary, addr, settings, process })
    }

    /// Runs it once more, with arguments: as a command that talks to the one that serves.
    pub(crate) async fn runs(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(&self.binary).args(arguments).env("ADDR", &self.addr).output().await?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }

    /// Ends it without a chance to say goodbye.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Lets it drain, as on a deployment.
    pub(crate) async fn terminate(&mut self) -> Result<()> {
        let id = self.process.id().ok_or("the example has ended already")?;
        Command::new("kill").arg(id.to_string()).status().await?;
        let ended = deadline::within(PATIENCE, "the example ends", self.process.wait()).await??;
        if ended.success() {
            Ok(())
        } else {
            Err(format!("the example ended with {ended} after SIGTERM").into())
        }
    }

    /// Starts it again at the same address.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.process = spawn(&self.binary, &self.addr, &self.settings).await?;
        Ok(())
    }
}

async fn spawn(binary: &Path, addr: &str, settings: &[(&'static str, String)]) -> Result<Child> {
    let mut command = Command::new(binary);
    command
        .env("ADDR", addr)
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut process = command.spawn()?;
    let out = process.stdout.take().ok_or("the example has no output")?;
    let mut out = BufReader::new(out).lines();
    let line = deadline::within(PATIENCE, "the example says where it listens", out.next_line()).await??;
    if line.as_deref() != Some(&format!("listening on http://{addr}")) {
        return Err(format!("the example says {line:?} instead of where it listens").into());
    }
    eventually("the example accepts connections", async || {
        Ok(tokio::net::TcpStream::connect(addr).await.ok().map(drop))
    })
    .await?;
    Ok(process)
}
