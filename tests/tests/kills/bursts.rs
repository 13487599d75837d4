//! `kill -9`, twenty times.

use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    harness::{Process, Result, soon},
    log::Log,
    member::Member,
    redis::RedisServer,
};

const KILLS: usize = 20;
/// Where somebody talks. A room is told from one whose id begins alike.
const ROOMS: [&str; 4] = ["chat", "chat", "project:1", "project:10"];
/// What one says in a round: all that is said in a room is less than it keeps.
const BURST: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_missing_or_changed_after_twenty_kills() -> Result {
    let folder = tempfile::tempdir()?;
    survives(&format!("disk:{}", folder.path().join("data").display()), async || Ok(())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_after_twenty_kills_of_redis_with_it() -> Result {
    let mut redis = RedisServer::durable().await?;
    survives(&format!("redis:{}", redis.url()), async || {
        redis.kill()?;
        redis.restart().await
    })
    .await
}

/// Kills a server over that store in the middle of bursts, after what happens to the store, and holds what it has then
/// against what it said.
async fn survives(store: &str, mut before: impl AsyncFnMut() -> Result) -> Result {
    let mut process = Process::over(store).await?;
    let mut members: Vec<_> = ROOMS.iter().zip(0..).map(|(room, number)| Member::new(room, number)).collect();
    for round in 0..KILLS {
        for member in &mut members {
            member.come_back(process.address).await?;
        }
        let (said, mut ok) = mpsc::channel(ROOMS.len() * BURST * KILLS);
        let numbers = round * BURST..(round + 1) * BURST;
        let talking: JoinSet<_> =
            members.drain(..).map(|member| member.talk(numbers.clone(), said.clone())).collect();
        // From the first `ok` of the round to the last.
        for _ in 0..fastrand::usize(1..=ROOMS.len() * BURST) {
            soon("an ok", ok.recv()).await?;
        }
        before().await?;
        process = process.kill_and_restart().await?;
        members = talking.join_all().await.into_iter().collect::<Result<_>>()?;
    }
    for member in &mut members {
        member.come_back(process.address).await?;
    }
    for member in members {
        let log = Log::read(process.address, member.room).await?;
        log.has_no_hole()?;
        member.saw_and_said(&log)?;
    }
    Ok(())
}
