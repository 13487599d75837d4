//! The conformance server as a process of its own, for what ends with the process.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command as Building, Stdio},
    sync::OnceLock,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use super::{Result, free_port, soon};

/// A running conformance server; it is killed with this value.
#[derive(Debug)]
pub struct Instance {
    /// Where it listens, after a restart too.
    pub address: SocketAddr,
    /// Variables of its environment.
    settings: Vec<(&'static str, String)>,
    child: Child,
}

impl Instance {
    /// What lets a request act as the application's own backend.
    pub const KEY: &'static str = "a key for this test only";

    /// Starts one at a free port, with these variables in its environment.
    ///
    /// # Errors
    ///
    /// It doesn't build, or ends before it listens.
    pub async fn start(settings: &[(&'static str, &str)]) -> Result<Self> {
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self::at(&format!("127.0.0.1:{}", free_port()?), settings).await
    }

    async fn at(address: &str, settings: Vec<(&'static str, String)>) -> Result<Self> {
        let binary = tokio::task::spawn_blocking(binary).await??;
        let mut child = Command::new(binary)
            .env("ADDR", address)
            .env("SERVER_KEY", Self::KEY)
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let line = soon("it says where it listens", out.next_line()).await??.unwrap_or_default();
        let address = line.strip_prefix("listening on http://").ok_or(line.clone())?.parse()?;
        Ok(Instance { address, settings, child })
    }

    /// Where a client connects.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    ///
    /// It has ended already.
    pub async fn terminate(&self) -> Result {
        let id = self.child.id().ok_or("it has ended already")?;
        Command::new("kill").arg(id.to_string()).status().await?;
        Ok(())
    }

    /// Waits for its end; whether it went well.
    ///
    /// # Errors
    ///
    /// It doesn't end.
    pub async fn ended(&mut self) -> Result<bool> {
        Ok(soon("the process ends", self.child.wait()).await??.success())
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    ///
    /// It can't be sent.
    pub async fn kill(&mut self) -> Result {
        Ok(self.child.kill().await?)
    }

    /// Starts it again, at the same address.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> Result {
        *self = Self::at(&self.address.to_string(), self.settings.clone()).await?;
        Ok(())
    }

    /// The process, for the kernel's accounts of it.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What `/health` answers: the status, and the body.
    ///
    /// # Errors
    ///
    /// It doesn't answer.
    pub async fn health(&self) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        soon("an answer", stream.read_to_string(&mut answer)).await??;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no end of the head")?;
        Ok((head.split(' ').nth(1).ok_or("no status line")?.parse()?, body.to_owned()))
    }
}

/// Returns the path of the conformance server's binary, building it if need be.
fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    Ok(BINARY.get_or_init(|| example("conformance").map_err(|error| error.to_string())).clone()?)
}

/// Returns the path of an example's binary: in the folder that the variable `EXAMPLES` names, or built now into the target
/// folder and with the profile of this test.
///
/// # Errors
///
/// The example doesn't build.
pub fn example(name: &str) -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("EXAMPLES") {
        return Ok(PathBuf::from(folder).join(name));
    }
    // This test is TARGET/PROFILE/deps/NAME-HASH.
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).ok_or("the test is in no target folder")?;
    let target = profile.parent().ok_or("the test is in no target folder")?;
    let mut building = Building::new(env!("CARGO"));
    building.args(["build", "--quiet", "--package", name, "--target-dir"]).arg(target);
    building.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        building.arg("--release");
    }
    if !building.status()?.success() {
        return Err(format!("the example {name} doesn't build").into());
    }
    Ok(profile.join(name))
}
