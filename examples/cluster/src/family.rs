//! The instances as processes of their own. One that ends is started again.

use std::{env, future, net::SocketAddr, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::Result;

/// How long an instance may take to begin, and to drain.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an instance that ended is left alone.
const PAUSE: Duration = Duration::from_secs(2);

pub(crate) struct Family {
    members: JoinSet<()>,
    going: watch::Sender<bool>,
}

/// Where each instance is; `None` while it is not.
pub(crate) type Addresses = Vec<watch::Receiver<Option<SocketAddr>>>;

/// Starts so many, and waits until each is there.
pub(crate) async fn start(instances: u16, redis: &str) -> Result<(Family, Addresses)> {
    let (going, told_to_go) = watch::channel(false);
    let (mut members, mut addresses) = (JoinSet::new(), Vec::new());
    for number in 1..=instances {
        let (place, address) = watch::channel(None);
        let first = Member::start(number, redis).await?;
        place.send_replace(Some(first.address));
        members.spawn(keep(number, redis.to_owned(), first, place, told_to_go.clone()));
        addresses.push(address);
    }
    Ok((Family { members, going }, addresses))
}

impl Family {
    /// Waits for Ctrl-C or SIGTERM.
    pub(crate) async fn until_told_to_go(&self) {
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_err() {
                future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = interrupted => {}
            () = terminated() => {}
        }
    }

    /// Has them drain, and waits for their end.
    pub(crate) async fn end(self) {
        self.going.send_replace(true);
        self.members.join_all().await;
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    future::pending().await
}

/// A running instance; it drains once this is dropped, for its standard input ends.
struct Member {
    address: SocketAddr,
    process: Child,
    /// Its standard input.
    leash: Option<ChildStdin>,
}

impl Member {
    async fn start(number: u16, redis: &str) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.env("INSTANCE", number.to_string()).env("REDIS_URL", redis);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C in the terminal is for the leader alone, who sends them home.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.spawn()?;
        let mut out = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        let line = timeout(PATIENCE, out.next_line()).await??;
        let line = line.ok_or_else(|| format!("instance {number} ended before it listened"))?;
        eprintln!("instance {number}: process {} at {line}", process.id().unwrap_or_default());
        // Apart from the process: waiting for that would close it.
        let leash = process.stdin.take();
        Ok(Member { address: line.parse()?, process, leash })
    }

    /// Has it drain.
    async fn end(mut self) {
        drop(self.leash.take());
        if timeout(PATIENCE, self.process.wait()).await.is_err() {
            let _ = self.process.kill().await;
        }
    }
}

/// Keeps an instance until told to go: starts it again when it ends.
async fn keep(
    number: u16,
    redis: String,
    mut member: Member,
    place: watch::Sender<Option<SocketAddr>>,
    mut told_to_go: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = is_so(&mut told_to_go) => break,
            ended = member.process.wait() => eprintln!("instance {number} is gone: {ended:?}"),
        }
        place.send_replace(None);
        member = loop {
            tokio::select! {
                () = is_so(&mut told_to_go) => return,
                () = sleep(PAUSE) => {}
            }
            match Member::start(number, &redis).await {
                Ok(member) => break member,
                Err(error) => eprintln!("instance {number} doesn't start: {error}"),
            }
        };
        place.send_replace(Some(member.address));
    }
    member.end().await;
}

async fn is_so(told: &mut watch::Receiver<bool>) {
    let _ = told.wait_for(|told| *told).await;
}
