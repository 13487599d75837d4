//! What is in Redis after all that can happen to it.

use std::time::{Duration, Instant};

use dialogue::{
    Redis,
    store::{Append, Order, Query, Store, Trim},
};
use tokio::task::JoinSet;

use dialogue_tests::{EPOCH, PATIENCE, Proxy, RedisServer, Result, appends, seqs, until};

const ROOMS: usize = 8;

/// Appends to a room, some events at a time, until that fails; yields the number of the last that was acknowledged.
/// `from` tells these events from others that were given the same numbers before, and not acknowledged.
async fn burst(redis: Redis, room: String, mut acknowledged: u64, from: &str) -> Result<u64> {
    loop {
        let next = acknowledged + 1..=acknowledged + fastrand::u64(1..=20);
        let last = *next.end();
        let mut appends = appends(&room, next)?;
        appends.iter_mut().flat_map(|append| &mut append.events).for_each(|event| event.from = from.into());
        match redis.append(appends).await {
            Ok(()) => acknowledged = last,
            Err(_) => return Ok(acknowledged),
        }
    }
}

/// Every event of a room is what was appended, without a hole; yields from whom each is.
async fn authors(redis: &Redis, room: &str) -> Result<Vec<String>> {
    let (mut authors, mut query) = (Vec::new(), Query::new(Order::OldestFirst, 1_000));
    loop {
        let mut page = redis.read(room, query.clone()).await?;
        let after = authors.len() as u64;
        authors.extend(page.events.iter().map(|event| event.from.to_string()));
        page.events.iter_mut().for_each(|event| event.from = "alice".into());
        let expected = appends(room, after + 1..=authors.len() as u64)?.swap_remove(0).events;
        assert_eq!(page.events, expected);
        query.after = page.next;
        if page.next.is_none() {
            return Ok(authors);
        }
    }
}

/// The same of a room that nobody else appended to; yields the number of the last event.
async fn whole(redis: &Redis, room: &str) -> Result<u64> {
    Ok(authors(redis, room).await?.len() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_in_the_middle_of_bursts_lose_nothing_acknowledged() -> Result {
    let mut server = RedisServer::durable().await?;
    // Bursts end with the server, not with a disk that takes its time.
    let redis = Redis::connect(server.url()).answer_within(PATIENCE).await?;
    let mut heads = vec![0; ROOMS];
    let mut known = vec![Vec::new(); ROOMS];
    for kill in 0..20 {
        let mut bursts = JoinSet::new();
        for (room, head) in heads.iter().enumerate() {
            let (redis, head, from) = (redis.clone(), *head, kill.to_string());
            bursts.spawn(async move { (room, burst(redis, format!("project:{room}"), head, &from).await) });
        }
        let size = server.cli(&["dbsize"]).await?;
        until("the bursts are on their way", async || {
            redis
                .head("project:0")
                .await
                .is_ok_and(|head| head.is_some_and(|head| head.last.seq > heads[0] + 50))
        })
        .await
        .map_err(|error| format!("{error}; {size} rooms"))?;
        server.kill()?;
        let acknowledged = bursts.join_all().await;
        server.restart().await?;
        until("it is connected again", async || redis.head("project:0").await.is_ok()).await?;
        for (room, acknowledged) in acknowledged {
            let (held, acknowledged) = (authors(&redis, &format!("project:{room}")).await?, acknowledged?);
            // Those that are known from before, then those of this time that were acknowledged.
            let mut expected: Vec<String> = std::mem::take(&mut known[room]);
            expected.resize(usize::try_from(acknowledged)?.max(expected.len()), kill.to_string());
            assert!(held.starts_with(&expected), "{} of {}", held.len(), expected.len());
            heads[room] = held.len() as u64;
            known[room] = held;
        }
    }
    assert!(heads.iter().all(|head| *head > 20), "{heads:?}");
    Ok(())
}

#[tokio::test]
async fn an_append_that_was_done_unseen_is_a_conflict() -> Result {
    let server = RedisServer::start().await?;
    let proxy = Proxy::to(server.port).await?;
    let within = Duration::from_secs(1);
    let patient = Redis::connect(server.url()).await?;
    patient.append(appends("chat", 1..=1)?).await?;
    let mut redis = None;
    until("it connects", async || {
        redis = Redis::connect(proxy.url()).answer_within(within).connect_within(within).await.ok();
        redis.is_some()
    })
    .await?;
    let redis = redis.ok_or("no connection")?;
    until("it is answered", async || redis.head("chat").await.is_ok()).await?;
    proxy.delay(Duration::from_millis(1_500));
    let error = redis.append(appends("chat", 2..=3)?).await.expect_err("no answer in time");
    assert!(!error.is_conflict(), "{error}");
    proxy.delay(Duration::ZERO);
    until("the head is told", async || {
        redis.head("chat").await.is_ok_and(|head| head.is_some_and(|head| head.last.seq == 3))
    })
    .await?;
    until("it is a conflict", async || {
        let again = redis.append(appends("chat", 2..=3).expect("events")).await;
        again.expect_err("they are there").is_conflict()
    })
    .await?;
    assert_eq!(whole(&patient, "chat").await?, 3);
    Ok(())
}

#[tokio::test]
async fn a_flushed_server_has_no_log_and_takes_a_new_one() -> Result {
    let server = RedisServer::start().await?;
    let redis = Redis::connect(server.url()).await?;
    redis.append(appends("chat", 1..=3)?).await?;
    server.cli(&["flushall"]).await?;
    let error = redis.append(appends("chat", 4..=4)?).await.expect_err("the log is gone");
    assert!(error.is_conflict(), "{error}");
    assert_eq!(redis.head("chat").await?, None);
    redis.append(appends("chat", 1..=1)?).await?;
    assert_eq!(whole(&redis, "chat").await?, 1);
    Ok(())
}

/// Events whose keys are `k1`, `k2`…
fn keyed(room: &str, seqs: std::ops::RangeInclusive<u64>) -> Result<Vec<Append>> {
    let mut appends = appends(room, seqs)?;
    for event in appends.iter_mut().flat_map(|append| &mut append.events) {
        event.key = Some(format!("k{}", event.seq).into());
    }
    Ok(appends)
}

async fn known(redis: &Redis, room: &str) -> Result<Vec<u64>> {
    Ok(redis.keys(room, 0).await?.iter().map(|key| key.seq).collect())
}

#[tokio::test]
async fn keys_of_a_log_that_is_gone_are_none_of_the_next() -> Result {
    let server = RedisServer::start().await?;
    let redis = Redis::connect(server.url()).await?;
    redis.append(keyed("chat", 1..=5)?).await?;
    server.cli(&["unlink", "dialogue:{room/chat}:log"]).await?;
    assert_eq!(known(&redis, "chat").await?, [0; 0]);
    // Of the same epoch, as rooms are whose log was never in memory; and the first event has no key.
    let mut first = appends("chat", 1..=1)?;
    first[0].events[0].event_id = dialogue::wire::Id::parse("another-one").ok_or("an id")?;
    redis.append(first).await?;
    assert_eq!(known(&redis, "chat").await?, [0; 0]);
    redis.append(keyed("chat", 2..=2)?).await?;
    assert!(known(&redis, "chat").await?.contains(&2));
    assert!(!known(&redis, "chat").await?.contains(&1));
    Ok(())
}

#[tokio::test]
async fn keys_of_which_half_was_evicted_are_begun_anew() -> Result {
    let server = RedisServer::start().await?;
    let redis = Redis::connect(server.url()).await?;
    let mut seq = 0;
    for half in ["keys", "order"] {
        redis.append(keyed("chat", seq + 1..=seq + 2)?).await?;
        server.cli(&["unlink", &format!("dialogue:{{room/chat}}:{half}")]).await?;
        assert_eq!(known(&redis, "chat").await?, [0; 0]);
        redis.trim("chat", Trim::new(EPOCH.into(), 0, 0)).await?;
        redis.append(keyed("chat", seq + 3..=seq + 3)?).await?;
        assert_eq!(known(&redis, "chat").await?, [seq + 3]);
        seq += 3;
    }
    Ok(())
}

#[tokio::test]
async fn a_room_is_removed_by_one_command() -> Result {
    let server = RedisServer::start().await?;
    let redis = Redis::connect(server.url()).await?;
    redis.append(keyed("chat", 1..=2)?).await?;
    server.cli(&["config", "resetstat"]).await?;
    redis.remove("chat").await?;
    assert_eq!(server.cli(&["keys", "dialogue:{room/chat}:*"]).await?, "");
    let stats = server.cli(&["info", "commandstats"]).await?;
    assert!(stats.contains("cmdstat_unlink:calls=1,"), "{stats}");
    Ok(())
}

#[tokio::test]
async fn one_room_that_is_refused_leaves_the_others_alone() -> Result {
    let server = RedisServer::start().await?;
    let redis = Redis::connect(server.url()).await?;
    redis.append(appends("a", 1..=3)?).await?;
    let rooms = [appends("a", 3..=4)?, appends("b", 1..=2)?, appends("c", 2..=2)?].concat();
    let error = redis.append(rooms).await.expect_err("two of them don't fit");
    assert!(error.is_conflict() && !error.is_of_all());
    assert_eq!([0, 1, 2].map(|room| error.is_of(room)), [true, false, true]);
    assert_eq!((whole(&redis, "a").await?, whole(&redis, "b").await?), (3, 2));
    assert_eq!(redis.head("c").await?, None);
    Ok(())
}

#[tokio::test]
async fn whatever_is_wrong_with_a_server_is_told_in_time() -> Result {
    let server = RedisServer::start().await?;
    let redis = Redis::connect(server.url()).await?;
    redis.append(appends("chat", 1..=1)?).await?;
    let wrong = [
        (["min-replicas-to-write", "1"], "NOREPLICAS"),
        (["maxmemory", "1"], "OOM"),
        (["maxclients", "1"], ""),
    ];
    for (setting, code) in wrong {
        let before = server.cli(&["config", "get", setting[0]]).await?;
        let before = before.lines().last().unwrap_or_default().to_owned();
        server.cli(&[&["config", "set"], &setting[..]].concat()).await?;
        let began = Instant::now();
        let appended = redis.append(appends("chat", 2..=2)?).await;
        let time = began.elapsed();
        match appended {
            Err(error) => assert!(error.to_string().contains(code) && !code.is_empty(), "{error}"),
            Ok(()) => assert!(code.is_empty(), "{code}"),
        }
        deadline::took("an answer", time, Duration::from_secs(4))?;
        server.cli(&["config", "set", setting[0], &before]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_middle_of_a_long_log_is_read_like_its_end() -> Result {
    let server = RedisServer::start().await?;
    let redis = Redis::connect(server.url()).await?;
    for start in (1..=20_000).step_by(500) {
        redis.append(appends("chat", start..=start + 499)?).await?;
    }
    let mut query = Query::new(Order::NewestFirst, 3);
    query.before = Some(10_000);
    assert_eq!(seqs(&redis.read("chat", query).await?.events), [9_999, 9_998, 9_997]);
    let mut query = Query::new(Order::OldestFirst, 3);
    (query.since, query.until) = (Some(15_000), Some(15_002));
    assert_eq!(seqs(&redis.read("chat", query).await?.events), [15_000, 15_001]);
    redis.trim("chat", Trim::new(EPOCH.into(), 19_000, 0)).await?;
    assert_eq!(redis.head("chat").await?.map(|head| (head.first, head.last.seq)), Some((19_000, 20_000)));
    Ok(())
}
