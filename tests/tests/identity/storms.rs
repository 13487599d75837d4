//! Crowds that come at once, known to the application and with hooks: nothing of them stays.

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, runtime::Handle, sync::Semaphore, task::JoinSet};

use crate::{
    club::{House, bearer, knock, token},
    harness::{HOUR, Result, Stream, connect, until},
};

/// `DIALOGUE_STORM` says another size. Client and server are one process: each connection takes two files.
fn crowd() -> usize {
    std::env::var("DIALOGUE_STORM").ok().and_then(|size| size.parse().ok()).unwrap_or(8_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_users_leaves_nothing_behind() -> Result {
    /// Handshakes under way at a time: more only wait for each other in the system's queue.
    static DOOR: Semaphore = Semaphore::const_new(250);
    // Of a crowd, some take long to say what they want.
    let house = House::with(|server| server.header_read_timeout(HOUR)).await?;
    let (address, users) = (house.address(), house.running.server.users());
    let mut watcher = house.socket("watcher").await?;
    let list = json!({ "type": "listRooms", "id": "rooms", "watch": true, "limit": 1_000 });
    let listed = watcher.ask(list.clone()).await?["rooms"].clone();
    let tasks = Handle::current().metrics().num_alive_tasks();

    let crowd = crowd();
    let mut visits = JoinSet::new();
    for number in 0..crowd {
        visits.spawn(async move {
            let _door = DOOR.acquire().await?;
            visit(address, number).await
        });
    }
    let stayed = visits.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    let stayed: Vec<_> = stayed.into_iter().flatten().collect();
    assert_eq!(stayed.len(), crowd.div_ceil(2));
    // Nothing of those who broke off is left.
    until("only who stayed is there", async || users.count() == stayed.len() + 1).await?;
    // A user is gone before the hooks know which rooms it left.
    let chat = house.running.server.chat();
    until("only who stayed is in the chat", async || {
        chat.describe().await.is_ok_and(|chat| chat.is_some_and(|chat| chat.size == stayed.len()))
    })
    .await?;
    drop(stayed);

    until("every user is gone", async || users.count() == 1).await?;
    until("every task and timer of a connection has ended", async || {
        Handle::current().metrics().num_alive_tasks() <= tasks
    })
    .await?;
    // Instances that a join made went with their last member; the others are empty. What takes the members out of a room may
    // be one more task than there were, and not at its end.
    until("every room is as before", async || {
        watcher.ask(list.clone()).await.is_ok_and(|now| now["rooms"] == listed)
    })
    .await?;
    assert!(house.running.server.lobby().members().await?.is_empty());
    let diary = house.diary.clone();
    watcher.close().await?;
    house.running.stop().await?;
    assert_eq!(diary.count("connect"), diary.count("disconnect"));
    assert_eq!(diary.count("joined"), diary.count("left"));
    assert!(diary.count("joined") >= crowd, "those who stayed alone joined two rooms each");
    Ok(())
}

/// The connection of somebody who stays.
type Stays = Box<dyn std::any::Any + Send>;

/// One of the crowd: every second stays; the others break off in the handshake, just after it, or just after joining.
async fn visit(address: std::net::SocketAddr, number: usize) -> Result<Option<Stays>> {
    let user = token(&format!("user-{number}"));
    let room = format!("project:{}", number % 50);
    match number % 8 {
        1 => {
            let mut wire = connect(address).await?;
            wire.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: webs").await?;
        }
        3 => knock(address, &user).await?.reset()?,
        5 => {
            let mut socket = knock(address, &user).await?;
            socket.next().await?;
            socket.send(json!({ "type": "join", "roomId": "lobby" })).await?;
            socket.reset()?;
        }
        7 => {
            let path = format!("/events?room=chat&room={room}");
            Stream::with(connect(address).await?, &path, "", &bearer(&user)).await?.reset()?;
        }
        6 => {
            let path = format!("/events?room=chat&room={room}");
            let stream = Stream::with(connect(address).await?, &path, "", &bearer(&user)).await?;
            return Ok(Some(Box::new(stream)));
        }
        _ => {
            let mut socket = knock(address, &user).await?;
            socket.next().await?;
            socket.enter("chat", Value::Null).await?;
            socket.enter(&room, Value::Null).await?;
            return Ok(Some(Box::new(socket)));
        }
    }
    Ok(None)
}
