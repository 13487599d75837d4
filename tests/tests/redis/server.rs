//! Servers whose rooms are in Redis: what clients are told while that is away, and after.

use std::time::{Duration, Instant};

use dialogue::{Code, Redis, Refusal};

use dialogue_tests::{RedisCluster, RedisServer, Result, Watched, until};

/// Said by a member.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) text: String,
}

dialogue::rooms! {
    struct Acme;
    chat: [Message] via [websocket];
    project(u64): [Message] via [websocket];
}

async fn say(server: &AcmeServer, text: &str) -> Result<u64, Refusal> {
    let accepted = server.chat().trigger(Message { text: text.to_owned() }).await?;
    Ok(accepted.seq.unwrap_or_default())
}

/// Says something until it is accepted; yields the numbers of what was said before that too.
async fn say_until_accepted(server: &AcmeServer) -> Result<u64> {
    let mut seq = 0;
    until("an event is accepted", async || match say(server, "again").await {
        Ok(accepted) => {
            seq = accepted;
            true
        }
        Err(refusal) => {
            assert_eq!(refusal.code, Code::Unavailable);
            false
        }
    })
    .await?;
    Ok(seq)
}

#[tokio::test]
async fn a_restart_of_everything_goes_on_where_it_was() -> Result {
    let mut redis = RedisServer::durable().await?;
    for seq in 1..=3 {
        let server = Acme::server().store(Redis::connect(redis.url()).await?).build().await?;
        assert_eq!(say(&server, "I was here").await?, seq);
        drop(server);
        redis.kill()?;
        redis.restart().await?;
    }
    Ok(())
}

#[tokio::test]
async fn while_redis_is_away_nothing_is_accepted_and_nobody_waits_long() -> Result {
    let mut redis = RedisServer::durable().await?;
    let server = Acme::server().store(Redis::connect(redis.url()).await?).build().await?;
    assert_eq!(say(&server, "before").await?, 1);
    redis.kill()?;
    for _ in 0..20 {
        let began = Instant::now();
        let refusal = say(&server, "meanwhile").await.expect_err("nobody keeps it");
        assert_eq!(refusal.code, Code::Unavailable);
        deadline::took("a refusal", began.elapsed(), Duration::from_secs(5))?;
    }
    redis.restart().await?;
    assert_eq!(say_until_accepted(&server).await?, 2);
    assert_eq!(say(&server, "after").await?, 3);
    Ok(())
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_accepts_nothing() -> Result {
    let redis = RedisServer::start().await?;
    let server = Acme::server().store(Redis::connect(redis.url()).await?).build().await?;
    assert_eq!(say(&server, "before").await?, 1);
    for (setting, wrong, right) in [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")] {
        redis.cli(&["config", "set", setting, wrong]).await?;
        assert_eq!(say(&server, "meanwhile").await.expect_err("it is full").code, Code::Unavailable);
        redis.cli(&["config", "set", setting, right]).await?;
        say_until_accepted(&server).await?;
    }
    assert_eq!(say(&server, "after").await?, 4);
    Ok(())
}

#[tokio::test]
async fn a_flushed_redis_begins_another_log() -> Result {
    let redis = RedisServer::start().await?;
    let server = Acme::server().store(Redis::connect(redis.url()).await?).build().await?;
    for seq in 1..=5 {
        assert_eq!(say(&server, "before").await?, seq);
    }
    redis.cli(&["flushall"]).await?;
    assert!(say_until_accepted(&server).await? <= 2);
    Ok(())
}

#[tokio::test]
async fn a_failover_is_survived() -> Result {
    let mut watched = Watched::watchful().await?;
    let redis = Redis::sentinel(watched.urls(), Watched::NAME).await?;
    let server = Acme::server().store(redis).build().await?;
    assert_eq!(say(&server, "before").await?, 1);
    watched.primary.is_copied().await?;
    watched.primary.kill()?;
    assert_eq!(say_until_accepted(&server).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_failover_in_a_cluster_leaves_other_rooms_alone() -> Result {
    let mut cluster = RedisCluster::start().await?;
    let server = Acme::server().store(Redis::cluster(cluster.urls()).await?).build().await?;
    for room in 0..20 {
        server.project(room).trigger(Message { text: "before".to_owned() }).await?;
    }
    let lost = cluster.primary_of("dialogue:{room/project:0}:log").await?;
    let mut others = Vec::new();
    for room in 1..20 {
        let primary = cluster.primary_of(&format!("dialogue:{{room/project:{room}}}:log")).await?;
        others.extend((primary != lost).then_some(room));
    }
    cluster.nodes[lost].is_copied().await?;
    cluster.kill(lost).await?;
    // The others take nobody for dead yet.
    let speak = async |room| server.project(room).trigger(Message { text: "meanwhile".to_owned() }).await;
    assert_eq!(speak(0).await.expect_err("its node is gone").code, Code::Unavailable);
    for room in others {
        assert_eq!(speak(room).await?.seq, Some(2));
    }
    for node in cluster.nodes.iter().enumerate().filter(|(place, _)| *place != lost).map(|(_, node)| node) {
        // However long it took to get here.
        node.cli(&["config", "set", "cluster-replica-validity-factor", "0"]).await?;
        node.cli(&["config", "set", "cluster-node-timeout", "1500"]).await?;
    }
    until("its replica takes over", async || speak(0).await.is_ok()).await
}
