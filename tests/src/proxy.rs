//! A line to a server that stalls, breaks and delays.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::AbortHandle,
};

use super::Result;

/// Forwards connections to a server, or to several in turn; it ends with this value.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    task: AbortHandle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    /// Nothing passes, and nobody is told.
    stalls: bool,
    delay: Duration,
    /// Connections that began before this number grew are reset.
    generation: u64,
    /// Of as many connections as this says, one is reset, once.
    one_of: u64,
}

impl Proxy {
    /// A line to the server at `port`.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub async fn to(port: u16) -> Result<Self> {
        Self::among(vec![SocketAddr::from(([127, 0, 0, 1], port))]).await
    }

    /// Lines to several servers in turn; one that doesn't accept is passed over.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub async fn among(servers: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (line, state) =
            watch::channel(Line { stalls: false, delay: Duration::ZERO, generation: 0, one_of: 1 });
        let task = tokio::spawn(async move {
            let mut servers = servers;
            let mut number = 0;
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(forward(near, number, servers.clone(), state.clone()));
                servers.rotate_left(1);
                number += 1;
            }
        });
        Ok(Proxy { address, line, task: task.abort_handle() })
    }

    /// Where a Redis client connects.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Holds everything, or lets it pass again.
    pub fn stall(&self, stalls: bool) {
        self.line.send_modify(|line| line.stalls = stalls);
    }

    /// Resets every connection there is.
    pub fn reset(&self) {
        self.reset_one_of(1);
    }

    /// Resets about one of so many connections.
    pub fn reset_one_of(&self, many: u64) {
        self.line.send_modify(|line| {
            line.generation += 1;
            line.one_of = many.max(1);
        });
    }

    /// Holds what is sent, in either direction, for that long.
    pub fn delay(&self, delay: Duration) {
        self.line.send_modify(|line| line.delay = delay);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.reset();
    }
}

async fn forward(near: TcpStream, number: u64, servers: Vec<SocketAddr>, mut line: watch::Receiver<Line>) {
    let mut generation = line.borrow().generation;
    // A reset, not an end in good order.
    let _ = socket2::SockRef::from(&near).set_linger(Some(Duration::ZERO));
    let Some(far) = reach(&servers).await else { return };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let (there, back) = (copy(near_in, far_out, line.clone()), copy(far_in, near_out, line.clone()));
    let cut = async {
        loop {
            let Ok(line) = line.wait_for(|line| line.generation != generation).await.map(|line| *line) else {
                return;
            };
            generation = line.generation;
            if (number + generation).is_multiple_of(line.one_of) {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
        () = cut => {}
    }
}

/// The first that accepts.
async fn reach(servers: &[SocketAddr]) -> Option<TcpStream> {
    for server in servers {
        if let Ok(stream) = TcpStream::connect(server).await {
            let _ = stream.set_nodelay(true);
            return Some(stream);
        }
    }
    None
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let Ok(delay) = line.wait_for(|line| !line.stalls).await.map(|line| line.delay) else { return };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
