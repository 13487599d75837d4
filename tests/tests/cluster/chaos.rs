//! Three instances and sixty people while everything breaks: instances, lines, servers. What happens is decided by a seed,
//! which is printed: `CHAOS_SEED=7 DIALOGUE_CHAOS_SECONDS=600 cargo test --test cluster chaos -- --nocapture`.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use dialogue_tests::{Instance, Proxy, RedisCluster, RedisServer, Result, Watched, until};
use fastrand::Rng;
use tokio::time::sleep;

use crate::{
    crowd::{Crowd, ROOMS},
    fleet::{Fleet, INSTANCES},
    truth::Outcome,
};

/// What the instances share, and what may happen to it.
trait Ground: Sized {
    /// What `BACKPLANE` is for each instance.
    fn backplanes(&self) -> Vec<String>;

    /// Breaks something, and has it mended; yields what.
    async fn break_something(&mut self, rng: &mut Rng) -> Result<&'static str>;

    /// Whether what a server acknowledged may go with it.
    const FORGETS: bool;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_one_server() -> Result {
    let server = RedisServer::durable().await?;
    let mut lines = Vec::new();
    for _ in 0..INSTANCES {
        lines.push(Proxy::to(server.port).await?);
    }
    run("one server", Single { server, lines }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_cluster() -> Result {
    run("a Cluster", RedisCluster::watchful().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_sentinels() -> Result {
    run("Sentinels", Watched::careful().await?).await
}

async fn run<G: Ground>(name: &str, mut ground: G) -> Result {
    let of = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = of("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs(of("DIALOGUE_CHAOS_SECONDS").unwrap_or(20));
    println!("CHAOS_SEED={seed} over {name}");
    let mut rng = Rng::with_seed(seed);
    let mut fleet = Fleet::over(&ground.backplanes()).await?;
    let mut crowd = Crowd::meet(&fleet.url(), &mut rng).await?;
    let (began, mut broken) = (Instant::now(), BTreeMap::<_, u32>::new());
    while began.elapsed() < time {
        crowd.is_well()?;
        sleep(Duration::from_millis(rng.u64(100..800))).await;
        let what = if rng.bool() {
            fleet.break_something(&mut rng).await?
        } else {
            ground.break_something(&mut rng).await?
        };
        println!("{:.1} s: {what}", began.elapsed().as_secs_f64());
        *broken.entry(what).or_default() += 1;
    }
    fleet.is_well().await?;
    let (witnesses, in_time) = crowd.part().await?;
    let outcome = Outcome::of(&witnesses)?;
    println!("over {name}: {outcome}; {broken:?}");
    assert!(outcome.acknowledged > 0);
    if !G::FORGETS || !broken.keys().any(|what| what.starts_with("primary")) {
        assert_eq!((outcome.losses, outcome.gone), (0, 0), "CHAOS_SEED={seed}: {}", outcome.report);
    }
    Ok(in_time?)
}

impl Fleet {
    async fn break_something(&mut self, rng: &mut Rng) -> Result<&'static str> {
        let instance = &mut self.instances[rng.usize(..INSTANCES)];
        let pause = Duration::from_millis(rng.u64(50..1_500));
        Ok(match rng.u8(..6) {
            0..2 => {
                instance.kill().await?;
                sleep(pause).await;
                revive(instance).await?;
                "instance killed"
            }
            2 => {
                instance.terminate().await?;
                instance.ended().await?;
                revive(instance).await?;
                "instance drained"
            }
            3 => {
                self.door.stall(true);
                sleep(pause).await;
                self.door.stall(false);
                "clients stalled"
            }
            _ => {
                self.door.reset_one_of(rng.u64(1..6));
                "clients reset"
            }
        })
    }
}

/// Starts an instance until it starts: it may come while nothing can be read, and is started again then, as anywhere.
async fn revive(instance: &mut Instance) -> Result {
    until("an instance starts", async || instance.restart().await.is_ok()).await
}

/// One server that has all on its disk before it answers, and a line to it for each instance.
struct Single {
    server: RedisServer,
    lines: Vec<Proxy>,
}

impl Ground for Single {
    const FORGETS: bool = false;

    fn backplanes(&self) -> Vec<String> {
        self.lines.iter().map(|line| format!("redis:{}", line.url())).collect()
    }

    async fn break_something(&mut self, rng: &mut Rng) -> Result<&'static str> {
        let (line, server) = (&self.lines[rng.usize(..INSTANCES)], &mut self.server);
        let pause = Duration::from_millis(rng.u64(50..2_000));
        Ok(match rng.u8(..10) {
            0..3 => {
                line.reset();
                "line reset"
            }
            3..5 => {
                line.stall(true);
                sleep(pause).await;
                line.stall(false);
                "line stalled"
            }
            5 => {
                line.delay(pause / 4);
                sleep(pause).await;
                line.delay(Duration::ZERO);
                "line delayed"
            }
            6 => {
                server.signal("STOP")?;
                sleep(pause).await;
                server.signal("CONT")?;
                "server hung"
            }
            7 => {
                server.cli(&["script", "flush"]).await?;
                "scripts flushed"
            }
            _ => {
                server.kill()?;
                sleep(pause / 2).await;
                server.restart().await?;
                "server killed"
            }
        })
    }
}

impl Ground for RedisCluster {
    /// A primary that is killed takes with it what its replica did not have yet.
    const FORGETS: bool = true;

    fn backplanes(&self) -> Vec<String> {
        vec![format!("redis-cluster:{}", self.urls().join(","))]
    }

    async fn break_something(&mut self, rng: &mut Rng) -> Result<&'static str> {
        let key = format!("dialogue:{{room/project:{}}}:log", rng.u64(..ROOMS));
        let primary = self.primary_of(&key).await?;
        Ok(match rng.u8(..4) {
            0 => {
                self.replace(primary).await?;
                "primary killed"
            }
            1 => {
                self.retire(primary).await?;
                "primary retired"
            }
            _ => {
                self.move_slot(&key).await?;
                "slot moved"
            }
        })
    }
}

impl Ground for Watched {
    /// As over a Cluster.
    const FORGETS: bool = true;

    fn backplanes(&self) -> Vec<String> {
        vec![format!("redis-sentinel:{}@{}", Watched::NAME, self.urls().join(","))]
    }

    async fn break_something(&mut self, rng: &mut Rng) -> Result<&'static str> {
        if rng.bool() {
            self.retire_primary().await?;
            return Ok("primary retired");
        }
        self.replace_primary().await?;
        Ok("primary killed")
    }
}
