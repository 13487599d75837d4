//! One quota of several instances, in Redis.

use std::time::{Duration, Instant};

use deadline::within;
use dialogue::{PerTime, Redis};
use dialogue_tests::RedisServer;
use serde_json::{Value, json};

use crate::harness::{Message, Result, Running, Socket, is_refused};

/// What Redis is asked for counts alone at one instance where it takes longer.
const ANSWER: Duration = Duration::from_secs(1);

dialogue::rooms! {
    struct Branch;

    #[room(limit = 6 per 1h)]
    counter: [Message] via [websocket];
}

async fn open(redis: &Redis) -> Result<Running<BranchServer>> {
    let server = Branch::server().quota(redis.clone()).limit(100.per_hour()).build().await?;
    let routes = server.router();
    Running::serve(server, routes).await
}

async fn say(socket: &mut Socket) -> Result<Value> {
    let data = json!({ "text": "x" });
    socket
        .ask(json!({ "type": "trigger", "id": 1, "roomId": "counter", "event": "message", "data": data }))
        .await
}

#[tokio::test]
async fn what_a_client_has_left_is_the_same_on_all_instances() -> Result {
    let server = RedisServer::start().await?;
    let redis = Redis::connect(server.url()).prefix("acme").await?;
    let branches = [open(&redis).await?, open(&redis).await?, open(&redis).await?];
    let mut clients = Vec::new();
    for branch in &branches {
        let joining = Socket::join(branch.address, "counter");
        clients.push(within(ANSWER, "a join that Redis counts", joining).await??);
    }
    let began = Instant::now();
    for said in 0..9 {
        let answer = within(ANSWER, "an answer by Redis", say(&mut clients[said % 3])).await??;
        if said < 6 {
            assert_eq!(answer["type"], "ok", "{said}: {answer}");
        } else {
            assert!(is_refused(&answer, "RATE_LIMITED"), "{said}: {answer}");
            // One is back ten minutes after the first.
            let after = Duration::from_millis(answer["retryAfterMs"].as_u64().ok_or("it says not when")?);
            let (whole, clocks) = (Duration::from_secs(600), Duration::from_secs(1));
            assert!(after <= whole && after + began.elapsed() + clocks >= whole, "{after:?}");
        }
    }
    for branch in branches {
        branch.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn while_redis_is_away_each_instance_counts_by_itself() -> Result {
    let mut server = RedisServer::start().await?;
    let redis = Redis::connect(server.url()).await?;
    let branch = open(&redis).await?;
    let mut client = Socket::join(branch.address, "counter").await?;
    server.kill()?;
    for _ in 0..6 {
        assert_eq!(say(&mut client).await?["type"], "ok");
    }
    assert!(is_refused(&say(&mut client).await?, "RATE_LIMITED"));
    branch.stop().await
}
