//! One line for each change, and no secret in any.

use bytes::Bytes;
use dialogue::{Redis, store::Store};

use dialogue_tests::{Lines, RedisServer, Result, appends, until};

async fn put(redis: &Redis) -> bool {
    redis.put(vec![("rooms/chat".to_owned(), Some(Bytes::from_static(b"x")))]).await.is_ok()
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back_is_two_lines() -> Result {
    let options = ["--requirepass", "secret", "--save", ""];
    let mut server = RedisServer::letting_in(&options, &["-a", "secret"]).await?;
    let (lines, _guard) = Lines::keep();
    let redis = Redis::connect(format!("redis://:secret@127.0.0.1:{}", server.port)).await?;
    assert!(put(&redis).await);
    server.kill()?;
    until("it is known to be gone", async || !put(&redis).await).await?;
    for _ in 0..1_000 {
        assert!(!put(&redis).await);
    }
    server.restart().await?;
    until("it works again", async || put(&redis).await).await?;
    let lines = lines.all();
    assert!(lines.len() == 2, "{lines:#?}");
    assert!(lines[0].starts_with("WARN Redis at") && lines[0].contains("is unreachable"), "{lines:#?}");
    assert!(lines[1].starts_with("INFO Redis at") && lines[1].contains("is reachable again"), "{lines:#?}");
    assert!(!lines.concat().contains("secret") && !format!("{redis:?}").contains("secret"));
    Ok(())
}

#[tokio::test]
async fn a_full_server_is_two_lines_and_recovers_unasked() -> Result {
    let server = RedisServer::start().await?;
    let (lines, _guard) = Lines::keep();
    let redis = Redis::connect(server.url()).await?;
    redis.append(appends("chat", 1..=1)?).await?;
    server.cli(&["config", "set", "maxmemory", "1"]).await?;
    for _ in 0..100 {
        let error = redis.append(appends("chat", 2..=2)?).await.expect_err("no room");
        assert!(error.to_string().contains("OOM") && error.to_string().contains("maxmemory"), "{error}");
    }
    assert!(redis.trouble().is_some_and(|trouble| trouble.contains("refuses writes")));
    server.cli(&["config", "set", "maxmemory", "0"]).await?;
    until("it is seen to take writes", async || redis.trouble().is_none()).await?;
    redis.append(appends("chat", 2..=2)?).await?;
    let lines = lines.all();
    assert!(lines.len() == 2, "{lines:#?}");
    assert!(
        lines[0].contains("refuses writes: OOM") && lines[1].contains("takes writes again"),
        "{lines:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_evicts_is_one_line_that_says_what_to_set() -> Result {
    let mut server = RedisServer::with(&["--maxmemory-policy", "allkeys-lru", "--save", ""]).await?;
    let (lines, _guard) = Lines::keep();
    let redis = Redis::connect(server.url()).await?;
    until("it is warned of", async || !lines.all().is_empty()).await?;
    let line = lines.all().concat();
    assert!(line.starts_with("WARN Redis at 127.0.0.1:") && line.contains("`allkeys-lru`"), "{line}");
    assert!(line.contains("set it to `noeviction`"), "{line}");
    server.kill()?;
    until("it is known to be gone", async || !put(&redis).await).await?;
    server.restart().await?;
    until("it works again", async || put(&redis).await).await?;
    // A connection is asked for its sign of life after the policy was looked at.
    until("the new connection is at work", async || lines.all().len() >= 3).await?;
    assert_eq!(lines.all().iter().filter(|line| line.contains("evicts")).count(), 1, "{:#?}", lines.all());
    Ok(())
}

#[tokio::test]
async fn a_server_that_lost_the_scripts_is_no_news() -> Result {
    let server = RedisServer::start().await?;
    let (lines, _guard) = Lines::keep();
    let redis = Redis::connect(server.url()).await?;
    for seq in 1..=5 {
        server.cli(&["script", "flush"]).await?;
        redis.append(appends("chat", seq..=seq)?).await?;
    }
    assert_eq!(redis.head("chat").await?.map(|head| head.last.seq), Some(5));
    assert_eq!(lines.all(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_replica_in_the_primarys_place_is_one_line() -> Result {
    let (server, other) = (RedisServer::start().await?, RedisServer::start().await?);
    let (lines, _guard) = Lines::keep();
    let redis = Redis::connect(server.url()).await?;
    assert!(put(&redis).await);
    server.cli(&["replicaof", "127.0.0.1", &other.port.to_string()]).await?;
    for _ in 0..50 {
        assert!(!put(&redis).await);
    }
    until("it is seen to be a replica", async || redis.trouble().is_some()).await?;
    server.cli(&["replicaof", "no", "one"]).await?;
    until("it takes writes again", async || put(&redis).await).await?;
    let lines = lines.all();
    assert!(lines.len() == 2 && lines[0].contains("replica"), "{lines:#?}");
    Ok(())
}
