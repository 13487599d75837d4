//! The Linux kernel's view of a server's connections.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;

use crate::{
    connections::{SHORT, is_healthy, long_history},
    harness::{HOUR, Result, Running, Socket, Stream, connect, small_window, until},
};

#[tokio::test]
async fn the_kernel_watches_every_connection() -> Result {
    const KEEP_ALIVE: &str = "02";
    // The silent one is there for as long as it is looked at.
    let running = Running::with(|server| server.header_read_timeout(HOUR)).await?;
    let silent = connect(running.address).await?;
    let mut asking = connect(running.address).await?;
    assert!(is_healthy(&mut asking).await?);
    let socket = Socket::join(running.address, "chat").await?;
    let (streamed, at) = {
        let wire = connect(running.address).await?;
        let at = wire.local_addr()?;
        (Stream::over(wire, "/events?room=chat", "").await?, at)
    };
    let clients = [silent.local_addr()?, asking.local_addr()?, socket.frames.get_ref().local_addr()?, at];
    for client in clients {
        until("a keep-alive timer", async || {
            kernel(running.address, client).is_ok_and(|row| row.is_some_and(|(_, timer)| timer == KEEP_ALIVE))
        })
        .await?;
    }
    drop((silent, asking, socket, streamed));
    running.stop().await
}

#[tokio::test]
async fn a_response_that_nobody_reads_is_given_up() -> Result {
    const ESTABLISHED: &str = "01";
    let running = Running::with(|server| server.response_stall_timeout(SHORT)).await?;
    long_history(&running).await?;
    let mut stalled = small_window(running.address).await?;
    let at = stalled.local_addr()?;
    let request = b"GET /rooms/chat/history?limit=200 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    stalled.write_all(&request).await?;
    until("the server gives the connection up", async || {
        kernel(running.address, at).is_ok_and(|row| row.is_none_or(|(state, _)| state != ESTABLISHED))
    })
    .await?;
    running.stop().await
}

/// The kernel's row of the server's end of a connection: its state, and the timer that runs (proc(5),
/// `/proc/net/tcp`).
fn kernel(server: SocketAddr, client: SocketAddr) -> Result<Option<(String, String)>> {
    let (local, remote) = (format!(":{:04X}", server.port()), format!(":{:04X}", client.port()));
    let table = std::fs::read_to_string("/proc/self/net/tcp")?;
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.len() > 5 && row[1].ends_with(&local) && row[2].ends_with(&remote));
    Ok(row.map(|row| (row[3].to_owned(), row[5].split(':').next().unwrap_or_default().to_owned())))
}
