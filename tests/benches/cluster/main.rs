//! What several instances over one Redis cost: triggers and deliveries in a second, and CPU for each, for one, two and three
//! instances; beside plain `PUBLISH` and `XADD` of the same payload. And how long an event takes from one to another.
//!
//! `cargo bench -p dialogue-tests --bench cluster`. Everything shares the machine, this program too, which writes and reads
//! all that is measured: how many there are in a second says what such a machine does in all, and CPU is what compares.

mod crowd;
mod floor;
mod journey;

use std::time::{Duration, Instant};

use dialogue_tests::{Instance, RedisServer, Result};

/// How long each is measured.
const TIME: Duration = Duration::from_secs(5);
/// Triggers of a writer without an answer, and commands in one write of the floor.
const IN_FLIGHT: usize = 64;
/// Characters of the text; its payload has about 128 bytes.
const TEXT: usize = 100;

/// What was done in [`TIME`].
pub(crate) struct Work {
    triggers: u64,
    deliveries: u64,
    elapsed: Duration,
    /// Seconds of CPU of our processes, and of Redis.
    ours: f64,
    redis: f64,
}

fn main() -> Result {
    // `cargo test --benches` runs benchmarks too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("measures under `cargo bench` only");
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(compare())
}

async fn compare() -> Result {
    let (rooms, members) = (crowd::ROOMS, crowd::MEMBERS);
    println!("{rooms} rooms of {members} members, {IN_FLIGHT} triggers in flight in each, {TIME:?} each\n");
    println!(
        "| | triggers/s | deliveries/s | our CPU µs/trigger | Redis' CPU µs/trigger |\n|---|---|---|---|---|"
    );
    let mut works = Vec::new();
    for instances in 1..=3 {
        let work = together(instances).await?;
        println!("| {instances} instances {work}");
        works.push(work);
    }
    let redis = RedisServer::start().await?;
    let (publish, append) = (floor::publish(&redis, members).await?, floor::append(&redis).await?);
    println!("| `PUBLISH` to {members} {publish}\n| `XADD` {append}\n");
    ratios(&works, &publish, &append);
    let (from, to) = (start(&redis).await?, start(&redis).await?);
    let (ours, plain) = (journey::through(&from, &to).await?, journey::plain(&redis).await?);
    println!("\n| one at a time | p50 | p99 |\n|---|---|---|");
    println!("| from a trigger on one instance to a member of another | {:?} | {:?} |", ours.0, ours.1);
    println!("| from `PUBLISH` to a subscriber | {:?} | {:?} |", plain.0, plain.1);
    println!(
        "\nA delivery takes {:.1} times a plain message's way.",
        ours.0.as_secs_f64() / plain.0.as_secs_f64()
    );
    Ok(())
}

fn ratios(works: &[Work], publish: &Work, append: &Work) {
    let floor = publish.redis_micros() + append.redis_micros();
    for (work, instances) in works.iter().zip(1..) {
        println!(
            "{instances} instances: {:.2} times the triggers of one, {:.2} times its CPU for each; Redis spends {:.1} times \
             `XADD` and `PUBLISH`",
            work.per_second() / works[0].per_second(),
            work.our_micros() / works[0].our_micros(),
            work.redis_micros() / floor,
        );
    }
}

async fn start(redis: &RedisServer) -> Result<Instance> {
    Instance::start(&[("BACKPLANE", &format!("redis:{}", redis.url()))]).await
}

/// So many instances at work together.
async fn together(instances: usize) -> Result<Work> {
    let redis = RedisServer::start().await?;
    let mut running = Vec::new();
    for _ in 0..instances {
        running.push(start(&redis).await?);
    }
    let crowd = crowd::Crowd::join(&running).await?;
    let (ours, theirs, began) = (cpu_of(&running)?, floor::cpu(&redis).await?, Instant::now());
    let (triggers, deliveries) = crowd.talk(TIME).await?;
    Ok(Work {
        triggers,
        deliveries,
        elapsed: began.elapsed(),
        ours: cpu_of(&running)? - ours,
        redis: floor::cpu(&redis).await? - theirs,
    })
}

/// Seconds of CPU that the instances have used.
fn cpu_of(instances: &[Instance]) -> Result<f64> {
    let mut nanoseconds = 0;
    for instance in instances {
        let id = instance.id().ok_or("it has ended")?;
        for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().ok_or("no figure")?.parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "figures to look at")]
impl Work {
    fn per_second(&self) -> f64 {
        self.triggers as f64 / self.elapsed.as_secs_f64()
    }

    fn our_micros(&self) -> f64 {
        self.ours * 1e6 / self.triggers as f64
    }

    fn redis_micros(&self) -> f64 {
        self.redis * 1e6 / self.triggers as f64
    }
}

impl std::fmt::Display for Work {
    #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let deliveries = self.deliveries as f64 / self.elapsed.as_secs_f64();
        let (ours, redis) = (self.our_micros(), self.redis_micros());
        write!(f, "| {:.0} | {deliveries:.0} | {ours:.1} | {redis:.2} |", self.per_second())
    }
}
