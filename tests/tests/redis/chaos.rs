//! Peers that write and read while everything breaks: connections, lines, servers. What happens is decided by a seed, which
//! is printed: `CHAOS_SEED=7 CHAOS_SECONDS=120 cargo test --test redis chaos -- --nocapture`.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use dialogue::{
    Redis,
    backplane::{Draft, DraftOutcome, Feed, FeedMessage, NodeMessages, Publication, Published, SharedLogs},
    store::{Order, Query, Store, StoreError, StoredEvent},
    wire::Id,
};
use fastrand::Rng;
use tokio::{sync::watch, time::timeout};

use dialogue_tests::{PATIENCE, Proxy, RedisServer, Result, event, until};

const PEERS: usize = 3;
const ROOM: &str = "chat";
/// What an answer may take.
const WITHIN: Duration = Duration::from_millis(500);

/// An instance of an application, as much of it as concerns one room.
struct Peer {
    id: Id,
    redis: Redis,
    epoch: String,
    /// What it has seen of the room's log, in order.
    seen: Vec<StoredEvent>,
    /// Something may be missing.
    gap: bool,
    /// Keys of its events that were acknowledged.
    acknowledged: Vec<String>,
    number: u64,
    rng: Rng,
    /// The error if its last events were acknowledged late.
    in_time: Result<(), String>,
}

impl Peer {
    async fn join(number: usize, url: String, rng: Rng) -> Result<(Self, Feed)> {
        let id = Id::parse(&format!("peer{number:07}")).ok_or("no id")?;
        let mut joined = None;
        until("a peer joins", async || {
            let Ok(redis) = Redis::connect(&url).response_timeout(WITHIN).connect_timeout(WITHIN).await
            else {
                return false;
            };
            joined = redis.join(id).await.ok().map(|feed| (redis, feed));
            joined.is_some()
        })
        .await?;
        let (redis, feed) = joined.ok_or("nobody joined")?;
        feed.follower().follow(ROOM.into());
        let (epoch, seen, acknowledged) = (format!("epoch{number}"), Vec::new(), Vec::new());
        let peer = Peer { id, redis, epoch, seen, gap: true, acknowledged, number: 0, rng, in_time: Ok(()) };
        Ok((peer, feed))
    }

    /// Writes and reads until told to end, and then until nothing is missing.
    async fn live(mut self, mut feed: Feed, mut ends: watch::Receiver<bool>) -> Result<Self> {
        let mut unsaid = Vec::new();
        while !*ends.borrow_and_update() {
            let pause = Duration::from_millis(self.rng.u64(0..20));
            if let Ok(told) = timeout(pause, feed.next()).await {
                self.hear(told.ok_or("the feed ended")?)?;
                continue;
            }
            self.catch_up().await?;
            self.write(&mut unsaid).await?;
        }
        let began = Instant::now();
        let finished = timeout(PATIENCE + deadline::OVERTIME, self.finish(&mut unsaid)).await;
        finished.map_err(|_| "not all is acknowledged")??;
        self.in_time = deadline::took("all is acknowledged", began.elapsed(), PATIENCE);
        Ok(self)
    }

    async fn finish(&mut self, unsaid: &mut Vec<StoredEvent>) -> Result {
        while !unsaid.is_empty() {
            self.catch_up().await?;
            self.write(unsaid).await?;
        }
        Ok(())
    }

    fn hear(&mut self, told: FeedMessage) -> Result {
        match told {
            FeedMessage::Gap(_) => self.gap = true,
            FeedMessage::Events(batch) if self.seen.is_empty() || *batch.epoch == *self.epoch => {
                self.epoch = batch.epoch.to_string();
                for event in batch.events {
                    self.see(event)?;
                }
            }
            FeedMessage::Events(batch) => return Err(format!("another log: {}", batch.epoch).into()),
            _ => {}
        }
        Ok(())
    }

    /// Takes an event in if it is the next; one that was seen before has to be the same.
    fn see(&mut self, event: StoredEvent) -> Result {
        let next = self.seen.len() as u64 + 1;
        if event.seq == next {
            self.seen.push(event);
        } else if event.seq > next {
            self.gap = true;
        } else if self.seen[usize::try_from(event.seq)? - 1] != event {
            return Err(format!("number {} is {event:?} now", event.seq).into());
        }
        Ok(())
    }

    /// Reads what is missing.
    async fn catch_up(&mut self) -> Result {
        while self.gap {
            let mut query = Query::new(Order::OldestFirst, 100);
            query.after = Some(self.seen.len() as u64);
            let Ok(page) = self.redis.read(ROOM, query).await else { return Ok(()) };
            if self.seen.is_empty() && !page.events.is_empty() {
                let Ok(Some(head)) = self.redis.head(ROOM).await else { return Ok(()) };
                self.epoch = head.epoch.to_string();
            }
            self.gap = page.next.is_some();
            for event in page.events {
                self.see(event)?;
            }
        }
        Ok(())
    }

    /// Says something new, or again what was not acknowledged.
    async fn write(&mut self, unsaid: &mut Vec<StoredEvent>) -> Result {
        if unsaid.is_empty() {
            for _ in 0..self.rng.u64(1..5) {
                self.number += 1;
                let mut event = event(1)?;
                let name = format!("{}{:06}", &self.id.as_str()[6..], self.number);
                event.event_id = Id::parse(&name).ok_or("no id")?;
                event.key = Some(name.into());
                unsaid.push(event);
            }
        }
        let drafts = unsaid.iter().cloned().map(|event| Draft::new(event, 100)).collect();
        let mut share = Publication::new(ROOM.into(), self.epoch.as_str().into(), drafts);
        (share.after, share.after_id) = (self.seen.len() as u64, self.seen.last().map(|last| last.event_id));
        match self.redis.publish(self.id, vec![share]).await.swap_remove(0) {
            Ok(shared) => self.take(shared, unsaid),
            Err(error) => self.fail(error),
        }
    }

    fn take(&mut self, shared: Published, unsaid: &mut Vec<StoredEvent>) -> Result {
        if self.seen.is_empty() {
            self.epoch = shared.epoch.to_string();
        }
        for event in shared.missed {
            self.see(event)?;
        }
        for (kept, said) in shared.outcomes.into_iter().zip(unsaid.drain(..)) {
            self.acknowledged.extend(said.key.as_deref().map(str::to_owned));
            if let DraftOutcome::Published(event) = kept {
                self.see(event)?;
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: StoreError) -> Result {
        // It may have been done all the same.
        self.gap = true;
        if error.is_conflict() { Err(error.to_string().into()) } else { Ok(()) }
    }
}

/// Breaks something.
async fn break_something(rng: &mut Rng, server: &mut RedisServer, proxies: &[Proxy]) -> Result<&'static str> {
    let proxy = &proxies[rng.usize(..PEERS)];
    let pause = Duration::from_millis(rng.u64(50..1_200));
    Ok(match rng.u8(..10) {
        0..4 => {
            proxy.reset();
            "reset"
        }
        4..6 => {
            proxy.stall(true);
            tokio::time::sleep(pause).await;
            proxy.stall(false);
            "stall"
        }
        6 => {
            proxy.delay(pause / 4);
            tokio::time::sleep(pause).await;
            proxy.delay(Duration::ZERO);
            "delay"
        }
        7 => {
            server.signal("STOP")?;
            tokio::time::sleep(pause).await;
            server.signal("CONT")?;
            "hang"
        }
        8 => {
            server.cli(&["script", "flush"]).await?;
            "script flush"
        }
        _ => {
            server.kill()?;
            tokio::time::sleep(pause / 4).await;
            server.restart().await?;
            "kill"
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_all_see_one_log_and_nothing_acknowledged_is_missing() -> Result {
    let of = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = of("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs(of("CHAOS_SECONDS").unwrap_or(10));
    println!("CHAOS_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut server = RedisServer::durable().await?;
    let (ending, ends) = watch::channel(false);
    let (mut proxies, mut living) = (Vec::new(), tokio::task::JoinSet::new());
    for number in 0..PEERS {
        let proxy = Proxy::to(server.port).await?;
        let (peer, feed) = Peer::join(number, proxy.url(), rng.fork()).await?;
        living.spawn(peer.live(feed, ends.clone()));
        proxies.push(proxy);
    }
    let (began, mut broken) = (Instant::now(), HashMap::<_, u32>::new());
    while began.elapsed() < time {
        if let Some(ended) = living.try_join_next() {
            return Err(ended?.err().unwrap_or_else(|| "a peer ended early".into()));
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(20..300))).await;
        *broken.entry(break_something(&mut rng, &mut server, &proxies).await?).or_default() += 1;
    }
    ending.send_replace(true);
    let peers = living.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    let log = whole(peers.into_iter()).await?;
    println!("{} events; {broken:?}", log);
    Ok(())
}

/// Every peer has the same log, with each acknowledged event in it once; yields how many.
async fn whole(peers: impl Iterator<Item = Peer>) -> Result<usize> {
    let (mut logs, mut in_time) = (Vec::new(), Ok(()));
    let mut acknowledged = HashSet::new();
    for mut peer in peers {
        until("all is read", async || {
            peer.gap = true;
            peer.catch_up().await.is_ok() && !peer.gap
        })
        .await?;
        acknowledged.extend(peer.acknowledged.drain(..));
        logs.push(peer.seen);
        in_time = in_time.and(peer.in_time);
    }
    let keys: Vec<_> = logs[0].iter().filter_map(|event| event.key.as_deref()).collect();
    let once: HashSet<_> = keys.iter().copied().collect();
    assert_eq!(once.len(), keys.len(), "a key came twice");
    assert!(acknowledged.iter().all(|key| once.contains(&**key)), "an acknowledged event is missing");
    assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "logs differ");
    in_time?;
    Ok(keys.len())
}
