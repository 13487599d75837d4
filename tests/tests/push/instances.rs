//! Several instances of one application: who is away is in at none of them, and what one leaves another pushes.

use std::time::{Duration, Instant};

use dialogue::{Push, Redis, push::Outcome};
use dialogue_tests::{Proxy, RedisServer, until};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    Result,
    acme::{Configured, GRACE, Patient, Running},
    delivery::Crow,
    doomed::Doomed,
};

async fn over(redis: String) -> Result<Configured> {
    let backplane = Redis::connect(redis).await?;
    Ok(Box::new(|server| server.backplane(backplane)))
}

/// Sends, and hears that it is to come again much later.
fn busy() -> Crow {
    Crow::new(|_| Outcome::Retry { reason: "busy".into(), after: Some(Duration::from_secs(45)) })
}

/// Two instances, and the one crow that both send.
async fn two(redis: &RedisServer, crow: &Crow) -> Result<(Doomed, Running)> {
    let url = redis.url();
    let one = Doomed::start(Push::new().provider(crow.clone()), || over(url)).await?;
    let other = Running::with(Push::new().provider(crow.clone()), over(redis.url()).await?).await?;
    for user in ["alice", "bob"] {
        one.running.register(user, "crow", user).await?;
    }
    Ok((one, other))
}

/// Waits until an instance counts so many connections in the room, anywhere.
async fn size(running: &Running, size: u64) -> Result<()> {
    until("the room's size", async || {
        let rooms = running.ask("carol", "GET", "/rooms", json!({})).await;
        let (_, rooms) = rooms.unwrap_or_default();
        let rooms = rooms["rooms"].as_array().cloned().unwrap_or_default();
        rooms.iter().any(|room| room["roomId"] == "alerts" && room["size"] == size)
    })
    .await
}

fn told(user: &str, what: &str) -> (String, String) {
    (user.to_owned(), what.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_the_room_at_another_instance_is_not_told() -> Result<()> {
    let (redis, crow) = (RedisServer::start().await?, Crow::willing());
    let (one, other) = two(&redis, &crow).await?;
    let _socket = other.join("bob").await?;
    size(&one.running, 1).await?;
    one.running.alert("db").await?;
    one.running.until("crow", |counts| (counts.delivered, counts.cancelled) == (1, 1)).await?;
    assert_eq!(crow.sent(), [told("alice", "db is down no answer")]);
    // Once, from the instance that accepted it.
    assert_eq!(other.counts("crow"), dialogue::push::PushCounts::default());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_saw_it_at_another_instance_and_left_is_not_told() -> Result<()> {
    let (redis, crow) = (RedisServer::start().await?, Crow::willing());
    let (one, other) = two(&redis, &crow).await?;
    let mut socket = other.join("bob").await?;
    size(&one.running, 1).await?;
    one.running.server.alerts().trigger(Patient).await?;
    socket.until("event").await?;
    // Within the grace, and not before the other instance has looked who is there.
    sleep(GRACE / 3).await;
    drop(socket);
    one.running.until("crow", |counts| (counts.delivered, counts.cancelled) == (1, 1)).await?;
    assert_eq!(crow.sent(), [told("alice", "Patience")]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_another_instance_before_is_told() -> Result<()> {
    let (redis, crow) = (RedisServer::start().await?, Crow::willing());
    let (one, other) = two(&redis, &crow).await?;
    let socket = other.join("bob").await?;
    size(&one.running, 1).await?;
    one.running.alert("web").await?;
    one.running.until("crow", |counts| (counts.delivered, counts.cancelled) == (1, 1)).await?;
    drop(socket);
    size(&one.running, 0).await?;
    one.running.alert("db").await?;
    one.running.until("crow", |counts| counts.delivered == 3).await?;
    assert_eq!(crow.sent().last(), Some(&told("bob", "db is down no answer")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_instance_had_on_its_way_is_pushed_once_by_another() -> Result<()> {
    let (redis, crow) = (RedisServer::start().await?, Crow::willing());
    let (one, other) = two(&redis, &crow).await?;
    let third = Running::with(Push::new().provider(crow.clone()), over(redis.url()).await?).await?;
    let began = Instant::now();
    one.running.server.alerts().trigger(Patient).await?;
    one.kill();
    deadline::took("the end of the first", began.elapsed(), GRACE)?;
    // One of them, and only one.
    let delivered = || other.counts("crow").delivered + third.counts("crow").delivered;
    until("the others to push", async || delivered() >= 2).await?;
    other.alert("db").await?;
    other.until("crow", |_| delivered() == 4).await?;
    let all = ["alice", "bob"].map(|user| [told(user, "Patience"), told(user, "db is down no answer")]);
    assert_eq!(crow.sent(), all.concat());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_when_an_instance_drains_is_pushed_by_another() -> Result<()> {
    let (redis, crow) = (RedisServer::start().await?, Crow::willing());
    let (one, other) = two(&redis, &crow).await?;
    let began = Instant::now();
    one.running.server.alerts().trigger(Patient).await?;
    one.running.server.drain().await;
    deadline::took("the end of the first", began.elapsed(), GRACE)?;
    one.kill();
    other.until("crow", |counts| counts.delivered == 2).await?;
    assert_eq!(crow.sent(), [told("alice", "Patience"), told("bob", "Patience")]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_others_took_for_gone_leaves_its_pushes_to_them() -> Result<()> {
    let redis = RedisServer::start().await?;
    let (line, one_crow, crow) = (Proxy::to(redis.port).await?, busy(), Crow::willing());
    let one = Running::with(Push::new().provider(one_crow.clone()), over(line.url()).await?).await?;
    let other = Running::with(Push::new().provider(crow.clone()), over(redis.url()).await?).await?;
    one.register("alice", "crow", "alice").await?;
    one.alert("db").await?;
    one.until("crow", |counts| counts.retried == 1).await?;
    line.stall(true);
    line.reset();
    other.until("crow", |counts| counts.delivered == 1).await?;
    line.stall(false);
    // In time for its next try, it hears that this is another's.
    one.until("crow", |counts| counts.cancelled == 1).await?;
    assert_eq!((one_crow.sent().len(), crow.sent().len()), (1, 1));
    Ok(())
}
