//! People who know more of a room than the instance that they come to.

use std::time::Duration;

use dialogue_tests::{Proxy, RedisServer, Result, Socket};
use serde_json::{Value, json};

use crate::{harness::texts, house::open};

const SLOW: Duration = Duration::from_millis(400);

#[tokio::test]
async fn whoever_was_told_more_elsewhere_has_lost_nothing() -> Result {
    let redis = RedisServer::start().await?;
    let line = Proxy::to(redis.port).await?;
    let (quick, slow) = (open(redis.url()).await?, open(line.url()).await?);
    let mut waiting = Socket::open_as(slow.address, "bob").await?;
    waiting.enter("chat", Value::Null).await?;
    let mut alice = Socket::open_as(quick.address, "alice").await?;
    alice.enter("chat", Value::Null).await?;
    // Redis says so to the slow one too, later.
    line.delay(SLOW);
    for text in ["a", "b", "c"] {
        alice.say("chat", text).await?;
    }
    alice.events(3).await?;
    let mut again = Socket::open_as(slow.address, "alice").await?;
    let joined = again.enter("chat", alice.since()).await?;
    assert_eq!((&joined["resume"], &joined["replay"]), (&json!("complete"), &json!(0)), "{joined}");
    line.delay(Duration::ZERO);
    alice.say("chat", "d").await?;
    assert_eq!(texts(&again.events(1).await?), ["d"]);
    assert_eq!(texts(&waiting.events(4).await?), ["a", "b", "c", "d"]);
    Ok(())
}
