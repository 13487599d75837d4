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

/// Forwards connections to a server; it ends with this value.
pub(crate) struct Proxy {
    address: SocketAddr,
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
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (line, state) = watch::channel(Line { stalls: false, delay: Duration::ZERO, generation: 0 });
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(forward(near, port, state.clone()));
            }
        });
        Ok(Proxy { address, line, task: task.abort_handle() })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn stall(&self, stalls: bool) {
        self.line.send_modify(|line| line.stalls = stalls);
    }

    /// Resets every connection there is.
    pub(crate) fn reset(&self) {
        self.line.send_modify(|line| line.generation += 1);
    }

    /// Holds what is sent, in either direction, for that long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.line.send_modify(|line| line.delay = delay);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.reset();
    }
}

async fn forward(near: TcpStream, port: u16, mut line: watch::Receiver<Line>) {
    let generation = line.borrow().generation;
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    // A reset, not an end in good order.
    let _ = socket2::SockRef::from(&near).set_linger(Some(Duration::ZERO));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let (there, back) = (copy(near_in, far_out, line.clone()), copy(far_in, near_out, line.clone()));
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = line.wait_for(|line| line.generation != generation) => {}
    }
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
