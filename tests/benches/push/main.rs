//! What pushes to 100,000 devices of one room cost, and what they cost those who are connected.
//!
//! `cargo bench -p dialogue-tests --bench push` serves a room in this process, registers the devices over HTTP, and prints one
//! table: pushes per second through a provider that takes 20 ms and through FCM's API on loopback (HTTP/2 over TLS, in a
//! process of its own), bytes for each device by the process' resident memory, and the latency of events in another room
//! with and without pushes under way. Memory is Linux's (`/proc`). It takes about three minutes.
//!
//! What the machine does beside comes and goes, so that stretches with and without pushes take turns, and each is held
//! against the one before it: the median of those ratios is what counts, and should be below 1.2. On two processors, FCM's
//! process takes more than one of them, which the server and its members need too.

mod fake;
mod live;

use std::{fs, net::SocketAddr, time::Duration};

use dialogue::{
    Authenticator, Push, Server,
    identity::{AuthError, Authenticated, Credentials},
    push::{Fcm, Provider, PushMessage, PushTarget, SendOutcome},
};
use fake::Fake;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use live::Live;
use serde_json::json;
use tokio::time::{Instant, sleep};

/// A service is down.
#[dialogue::event(from = server, push(title = "{service} is down", body = "{detail}", urgency = high, ttl = 1h, after = 1ms))]
#[derive(Debug)]
pub struct Alert {
    /// Which.
    pub service: String,
    /// How.
    pub detail: String,
}

/// Said by the server.
#[dialogue::event(from = server)]
#[derive(Debug)]
pub struct Tick {
    /// When, in microseconds of this process.
    pub at: u64,
}

dialogue::rooms! {
    pub struct Acme;
    alerts: [Alert] via [webpush];
    ticks: [Tick] via [websocket];
}

type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const DEVICES: usize = 100_000;
const OF_A_USER: usize = 20;
/// How long each stretch with or without pushes is watched.
const STRETCH: Duration = Duration::from_secs(5);
const STRETCHES: usize = 7;

/// A service that takes 20 ms, as one far away.
struct FarAway;

impl Provider for FarAway {
    fn name(&self) -> &'static str {
        "far-away"
    }

    fn concurrency(&self) -> usize {
        256
    }

    async fn send(&self, _: &PushTarget, _: &PushMessage<'_>) -> SendOutcome {
        sleep(Duration::from_millis(20)).await;
        SendOutcome::Delivered
    }
}

/// A token is its user's name.
struct ByName;

impl Authenticator for ByName {
    type Identity = ();

    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Authenticated<()>, AuthError> {
        credentials.token().map(|name| Authenticated::new(name, ())).ok_or(AuthError::Rejected)
    }
}

fn main() -> Result {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    if std::env::args().any(|argument| argument == fake::ARGUMENT) {
        return runtime()?.block_on(fake::serve());
    }
    // `cargo test --benches` runs benchmarks too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("measures under `cargo bench` only");
        return Ok(());
    }
    runtime()?.block_on(async {
        println!("{DEVICES} devices of one room, {} processors", std::thread::available_parallelism()?);
        measure("20 ms", Push::new().provider(FarAway), "far-away").await?;
        let fake = Fake::start()?;
        let fcm = Fcm::from_json(&fake.account())?.root_certificate(fake.authority())?.base_url(fake.url());
        measure("FCM on loopback", Push::new().provider(fcm), "fcm").await
    })
}

async fn measure(what: &str, push: Push, provider: &'static str) -> Result {
    let server = Acme::server().auth(ByName).push(push).build().await?;
    let listener = Server::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (serving, routes) = (Server::clone(&server), server.router());
    tokio::spawn(async move { serving.serve_until(routes, listener, std::future::pending()).await });
    let before = resident()?;
    let registering = Instant::now();
    register(address, provider).await?;
    let registered = registering.elapsed();
    let bytes = resident()?.saturating_sub(before) / DEVICES as u64;

    let begun = Instant::now();
    alert(&server, provider).await?;
    let rate = DEVICES as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{what}: {rate:.0} pushes/s; {bytes} bytes a device; registered at {:.0}/s",
        DEVICES as f64 / registered.as_secs_f64()
    );

    let mut live = Live::start(address, &server).await?;
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..STRETCHES {
        quiet.push(live::percentiles(live.watch(STRETCH).await?));
        let pushing = async {
            loop {
                alert(&server, provider).await?;
            }
        };
        busy.push(live::percentiles(tokio::select! {
            seen = live.watch(STRETCH) => seen?,
            failed = pushing => return failed,
        }));
    }
    let ratios = quiet.iter().zip(&busy).map(|(quiet, busy)| busy.1 as f64 / quiet.1 as f64);
    let p50 = |of: &[(u64, u64)]| median(of.iter().map(|of| of.0 as f64));
    let p99 = |of: &[(u64, u64)]| median(of.iter().map(|of| of.1 as f64));
    println!(
        "{what}: live p50 {:.0} µs, p99 {:.0} µs; while pushing {:.0} and {:.0}; p99 {:.2} times, in pairs",
        p50(&quiet),
        p99(&quiet),
        p50(&busy),
        p99(&busy),
        median(ratios)
    );
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Pushes an alert to all devices, and waits until all have it.
async fn alert(server: &AcmeServer, provider: &str) -> Result {
    let delivered = || {
        let counts = server.pushes();
        counts.into_iter().find(|(name, _)| *name == provider).map_or(0, |(_, counts)| counts.delivered)
    };
    let goal = delivered() / DEVICES as u64 * DEVICES as u64 + DEVICES as u64;
    server.alerts().trigger(Alert { service: "db".into(), detail: "no answer".into() }).await?;
    while delivered() < goal {
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn register(address: SocketAddr, provider: &'static str) -> Result {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut answers = stream::iter(0..DEVICES)
        .map(|device| {
            let client = client.clone();
            async move {
                let token = format!("{device:0150}");
                let body = json!({ "provider": provider, "token": token, "rooms": ["alerts"] });
                let request = Request::post(format!("http://{address}/push"))
                    .header("authorization", format!("Bearer user-{}", device / OF_A_USER))
                    .header("content-type", "application/json")
                    .body(Full::from(body.to_string()))?;
                let answer = client.request(request).await?;
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                if status == 200 {
                    Ok(())
                } else {
                    Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into())
                }
            }
        })
        .buffer_unordered(32);
    while let Some(answer) = answers.next().await {
        let answer: Result = answer;
        answer?;
    }
    Ok(())
}

/// The memory that the process holds, in bytes.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
}
