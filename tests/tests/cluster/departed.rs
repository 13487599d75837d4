//! An instance that dies without a word.

use std::time::{Duration, Instant};

use dialogue_tests::{RedisServer, Result, Socket, soon};
use serde_json::json;

use crate::fleet::Fleet;

/// Until the others know at the latest.
const WITHIN: Duration = Duration::from_secs(15);
const EACH: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_members_of_a_dead_instance_leave_and_nobody_else_does() -> Result {
    let redis = RedisServer::start().await?;
    let mut fleet = Fleet::over(&[format!("redis:{}", redis.url())]).await?;
    let mut watcher = Socket::join(fleet.instances[0].address, "present").await?;
    let (mut stay, mut sockets) = (Vec::new(), Vec::new());
    let mut go = Vec::new();
    for number in 0..3 * EACH {
        let socket = Socket::join(fleet.instances[number % 3].address, "present").await?;
        let told = watcher.next().await?;
        assert_eq!(told["change"], "joined");
        let user = told["userId"].as_str().ok_or("no user")?.to_owned();
        if number % 3 == 2 {
            go.push(user)
        } else {
            stay.push(user)
        }
        sockets.push(socket);
    }
    fleet.instances[2].kill().await?;
    let died = Instant::now();
    for left in 0..EACH {
        let told = watcher.next().await?;
        let user = told["userId"].as_str().ok_or("no user")?.to_owned();
        assert!(told["change"] == "left" && go.contains(&user), "{told} as the {left}th");
        go.retain(|other| *other != user);
    }
    let gone = died.elapsed();
    println!("gone after {gone:?}");
    assert!(go.is_empty());
    let list = watcher.ask(json!({ "type": "members", "id": 1, "roomId": "present" })).await?;
    let listed: Vec<_> = list["members"].as_array().ok_or("no list")?.iter().collect();
    assert_eq!(listed.len(), stay.len() + 1);
    assert!(stay.iter().all(|user| listed.iter().any(|member| member["userId"] == **user)));
    come_back(&mut fleet, &mut watcher).await?;
    Ok(deadline::took("all are gone", gone, WITHIN)?)
}

/// What comes in the dead one's stead takes people in as before.
async fn come_back(fleet: &mut Fleet, watcher: &mut Socket) -> Result {
    fleet.instances[2].restart().await?;
    let _back = Socket::join(fleet.instances[2].address, "present").await?;
    let told = soon("somebody is told of", watcher.next()).await??;
    assert_eq!(told["change"], "joined", "{told}");
    Ok(())
}
