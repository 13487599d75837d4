//! Servers that go, hang and come back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dialogue::{
    Redis,
    store::{Order, Query, Store},
};

use dialogue_tests::{Proxy, RedisCluster, RedisServer, Result, Watched, appends, seqs, soon, until};

async fn put(redis: &Redis) -> bool {
    redis.put(vec![("rooms/chat".to_owned(), Some(Bytes::from_static(b"x")))]).await.is_ok()
}

/// Connects as somebody who has so little patience, once there is an answer in that time.
async fn hasty(url: &str, within: Duration) -> Result<Redis> {
    let mut redis = None;
    until("it connects", async || {
        redis = Redis::connect(url).answer_within(within).connect_within(within).await.ok();
        redis.is_some()
    })
    .await?;
    Ok(redis.ok_or("no connection")?)
}

#[tokio::test]
async fn a_connection_that_is_reset_is_made_again() -> Result {
    let server = RedisServer::start().await?;
    let proxy = Proxy::to(server.port).await?;
    let redis = Redis::connect(proxy.url()).await?;
    for _ in 0..5 {
        assert!(put(&redis).await);
        proxy.reset();
        until("it works again", async || put(&redis).await).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_hangs_fails_in_time_and_works_again() -> Result {
    let server = RedisServer::start().await?;
    let within = Duration::from_secs(1);
    let redis = hasty(&server.url(), within).await?;
    until("it works", async || put(&redis).await).await?;
    server.signal("STOP")?;
    let began = Instant::now();
    assert!(!put(&redis).await);
    until("it is known to be gone", async || redis.trouble().is_some()).await?;
    assert!(!put(&redis).await);
    deadline::took("two refusals", began.elapsed(), 10 * within)?;
    server.signal("CONT")?;
    until("it works again", async || put(&redis).await && redis.trouble().is_none()).await
}

#[tokio::test]
async fn a_line_that_stalls_is_noticed_though_nobody_asks() -> Result {
    let server = RedisServer::start().await?;
    let proxy = Proxy::to(server.port).await?;
    let redis = hasty(&proxy.url(), Duration::from_secs(2)).await?;
    proxy.stall(true);
    until("the silence is noticed", async || redis.trouble().is_some()).await?;
    proxy.stall(false);
    until("it is there again", async || redis.trouble().is_none()).await?;
    proxy.delay(Duration::from_millis(20));
    assert!(put(&redis).await);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_killed_is_found_again() -> Result {
    let mut server = RedisServer::durable().await?;
    let redis = Redis::connect(server.url()).await?;
    redis.append(appends("chat", 1..=3)?).await?;
    server.kill()?;
    until("it is known to be gone", async || redis.trouble().is_some()).await?;
    let error = redis.append(appends("chat", 4..=4)?).await.expect_err("nobody is there");
    assert!(error.to_string().contains("is the server running"), "{error}");
    server.restart().await?;
    until("it works again", async || redis.head("chat").await.is_ok()).await?;
    redis.append(appends("chat", 4..=4)?).await?;
    let page = redis.read("chat", Query::new(Order::OldestFirst, 10)).await?;
    assert_eq!(seqs(&page.events), [1, 2, 3, 4]);
    Ok(())
}

#[tokio::test]
async fn after_a_failover_the_new_primary_is_written_to() -> Result {
    let mut watched = Watched::watchful().await?;
    let redis = Redis::sentinel(watched.urls(), Watched::NAME).await?;
    until("the primary takes writes", async || put(&redis).await).await?;
    watched.primary.kill()?;
    until("the other one takes writes", async || put(&redis).await).await?;
    assert!(watched.replica.cli(&["role"]).await?.starts_with("master"));
    until("all is well", async || redis.trouble().is_none()).await
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_left() -> Result {
    let mut watched = Watched::start().await?;
    let redis = Redis::sentinel(watched.urls(), Watched::NAME).await?;
    assert!(put(&redis).await);
    watched.retire_primary().await?;
    assert!(watched.replica.is_primary().await);
    until("it takes writes", async || put(&redis).await).await?;
    let before =
        watched.replica.cli(&["--raw", "hget", "dialogue:{records/rooms}:values", "rooms/chat"]).await?;
    assert_eq!(before, "x");
    Ok(())
}

#[tokio::test]
async fn a_cluster_fails_over_and_moves_slots() -> Result {
    let mut cluster = RedisCluster::watchful().await?;
    let redis = Redis::cluster(cluster.urls()).await?;
    redis.append(appends("chat", 1..=1)?).await?;
    let primary = cluster.primary_of("dialogue:{room/chat}:log").await?;
    // What a killed primary had not yet handed on would be lost, and that is not what is tried here.
    cluster.nodes[primary].is_copied().await?;
    cluster.kill(primary).await?;
    for seq in 2..=3 {
        until("its replica takes over", async || {
            match redis.append(appends("chat", seq..=seq).expect("events")).await {
                Ok(()) => true,
                // It was done unseen.
                Err(error) => error.is_conflict(),
            }
        })
        .await?;
    }
    until("all is well", async || redis.trouble().is_none()).await?;
    let page = redis.read("chat", Query::new(Order::NewestFirst, 10)).await?;
    assert_eq!(seqs(&page.events), [3, 2, 1]);
    Ok(())
}

#[tokio::test]
async fn a_slot_on_the_move_loses_nothing() -> Result {
    let cluster = RedisCluster::start().await?;
    let redis = Redis::cluster(cluster.urls()).await?;
    redis.append(appends("chat", 1..=1)?).await?;
    let from = cluster.primary_of("dialogue:{room/chat}:log").await?;
    let to = (0..6).find(|place| *place != from && *place < 3).ok_or("one node")?;
    let (from, to) = (&cluster.nodes[from], &cluster.nodes[to]);
    let slot = from.cli(&["cluster", "keyslot", "dialogue:{room/chat}:log"]).await?;
    let (from_id, to_id) = (from.cli(&["cluster", "myid"]).await?, to.cli(&["cluster", "myid"]).await?);
    to.cli(&["cluster", "setslot", &slot, "importing", &from_id]).await?;
    from.cli(&["cluster", "setslot", &slot, "migrating", &to_id]).await?;
    redis.append(appends("chat", 2..=2)?).await?;
    from.cli(&["migrate", "127.0.0.1", &to.port.to_string(), "dialogue:{room/chat}:log", "0", "5000"])
        .await?;
    soon("it is asked where the log is going", redis.append(appends("chat", 3..=3)?)).await??;
    for node in [to, from] {
        node.cli(&["cluster", "setslot", &slot, "node", &to_id]).await?;
    }
    redis.append(appends("chat", 4..=4)?).await?;
    let page = redis.read("chat", Query::new(Order::OldestFirst, 10)).await?;
    assert_eq!(seqs(&page.events), [1, 2, 3, 4]);
    Ok(())
}
