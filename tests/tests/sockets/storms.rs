//! Crowds that come at once and break off half-way: nothing of them stays.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, runtime::Handle, task::JoinSet};

use crate::harness::{HOUR, Result, Running, Socket, connect, until};

const CROWD: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_leaves_nothing_behind() -> Result {
    // Of a crowd, some take long to say what they want.
    let running = Running::with(|server| server.header_read_timeout(HOUR)).await?;
    let mut watcher = Socket::open(running.address).await?;
    let listed = rooms(&mut watcher).await?;
    let tasks = Handle::current().metrics().num_alive_tasks();

    let mut crowd = JoinSet::new();
    (0..CROWD).for_each(|number| drop(crowd.spawn(visit(running.address, number))));
    let stayed = crowd.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    let stayed: Vec<_> = stayed.into_iter().flatten().collect();
    assert_eq!(stayed.len(), CROWD / 2);
    drop(stayed);

    until("every task of a connection has ended", async || {
        Handle::current().metrics().num_alive_tasks() <= tasks
    })
    .await?;
    assert!(listed.iter().all(|room| room["size"] == 0));
    // Rooms that a join made went with their last member; the others are empty. The task that takes the members out of a
    // room may be one more than there were, and not at its end.
    until("every room is as before", async || rooms(&mut watcher).await.is_ok_and(|now| now == listed))
        .await?;
    watcher.close().await?;
    running.stop().await
}

/// One of the crowd: every second stays; the others break off in the handshake, just after it, or just after joining.
async fn visit(address: SocketAddr, number: usize) -> Result<Option<Socket>> {
    let room = format!("project:{}", number % 50);
    match number % 8 {
        1 => {
            let mut stream = connect(address).await?;
            stream.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: webs").await?;
        }
        3 => Socket::open(address).await?.reset()?,
        5 => {
            let mut socket = Socket::open(address).await?;
            socket.send(json!({ "type": "join", "roomId": room })).await?;
            socket.reset()?;
        }
        7 => {
            let socket = Socket::join(address, "chat").await?;
            if number % 16 == 7 { socket.reset()? } else { drop(socket) }
        }
        _ => {
            let mut socket = Socket::join(address, "chat").await?;
            socket.enter(&room, Value::Null).await?;
            return Ok(Some(socket));
        }
    }
    Ok(None)
}

async fn rooms(socket: &mut Socket) -> Result<Vec<Value>> {
    let listed = socket.ask(json!({ "type": "listRooms", "id": "rooms" })).await?;
    Ok(listed["rooms"].as_array().cloned().unwrap_or_default())
}
