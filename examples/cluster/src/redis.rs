//! The Redis that the instances share.

use std::{env, io::ErrorKind, net::TcpListener, process::Stdio, time::Duration};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::Result;

const PATIENCE: Duration = Duration::from_secs(10);

/// Where it is, and the process if it is ours.
pub(crate) struct Redis {
    url: String,
    server: Option<Child>,
}

impl Redis {
    /// The one at `REDIS_URL`, or a new one that keeps nothing.
    pub(crate) async fn from_environment() -> Result<Self> {
        match env::var("REDIS_URL") {
            Ok(url) => Ok(Redis { url, server: None }),
            Err(_) => Self::start().await,
        }
    }

    async fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        // Ctrl-C in the terminal is not for it: the instances drain first.
        #[cfg(unix)]
        command.process_group(0);
        let server = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                "there is no redis-server here: install Redis 7 or newer, or name one in REDIS_URL, as in \
                 REDIS_URL=redis://127.0.0.1:6379"
                    .to_owned()
            }
            _ => format!("can't start redis-server: {error}"),
        })?;
        let answers = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, answers).await.map_err(|_| "redis-server does not listen within 10 s")?;
        Ok(Redis { url: format!("redis://127.0.0.1:{port}"), server: Some(server) })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends it, if it is ours.
    pub(crate) async fn end(mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill().await;
        }
    }
}
