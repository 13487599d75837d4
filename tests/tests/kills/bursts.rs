//! `kill -9`, twenty times.

use dialogue_tests::RedisServer;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    harness::{Instance, Result, soon},
    log::Log,
    member::Member,
};

const KILLS: usize = 20;
/// Where somebody talks. A room is told from one whose id begins alike.
const ROOMS: [&str; 4] = ["chat", "chat", "project:1", "project:10"];
/// What one says in a round: all that is said in a room is less than it keeps.
const BURST: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_missing_or_changed_after_twenty_kills() -> Result {
    let folder = tempfile::tempdir()?;
    survives(&format!("disk:{}", folder.path().join("data").display())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_over_redis() -> Result {
    let redis = RedisServer::durable().await?;
    survives(&format!("redis:{}", redis.url())).await
}

/// Kills a server over that store in the middle of bursts, and holds what it has then against what it said.
async fn survives(store: &str) -> Result {
    let mut process = Instance::start(&[("STORE", store)]).await?;
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
        process.kill().await?;
        process.restart().await?;
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
