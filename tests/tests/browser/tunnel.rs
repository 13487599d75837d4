//! The way from a browser to a server, which can break.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::page::Result;

/// Passes bytes on to a server while it is open; what a train loses when it enters one.
pub(crate) struct Tunnel {
    near: SocketAddr,
    open: watch::Sender<bool>,
}

impl Tunnel {
    pub(crate) async fn to(far: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let near = listener.local_addr()?;
        let (open, is_open) = watch::channel(true);
        tokio::spawn(dig(listener, far.to_owned(), is_open));
        Ok(Self { near, open })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.near)
    }

    /// Breaks all connections, and every new one until [`mend`](Self::mend).
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn dig(listener: TcpListener, far: String, is_open: watch::Receiver<bool>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let (far, mut is_open) = (far.clone(), is_open.clone());
        tokio::spawn(async move {
            if !*is_open.borrow() {
                return;
            }
            let Ok(mut far) = TcpStream::connect(far).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = is_open.wait_for(|open| !open) => {}
            }
        });
    }
}
