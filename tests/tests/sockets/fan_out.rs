//! Many members, many senders, one order.

use std::{collections::HashMap, net::SocketAddr};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{Result, Running, Socket, Stream, seqs, texts};

const SOCKETS: usize = 960;
const STREAMS: usize = 40;
const SENDERS: usize = 10;
const EACH: usize = 20;
const ALL: usize = SENDERS * EACH;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_members_see_every_event_once_and_in_one_order() -> Result {
    let running = Running::start().await?;
    let (mut sockets, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..SOCKETS - SENDERS {
        sockets.push(Socket::join(running.address, "chat").await?);
    }
    for _ in 0..STREAMS {
        streams.push(Stream::open(running.address, "room=chat", "").await?);
    }
    // Nobody waits before all are there.
    let senders: JoinSet<_> = senders_of(running.address).await?.into_iter().collect();
    let mut readers = JoinSet::new();
    for mut socket in sockets {
        readers.spawn(async move { socket.events(ALL).await });
    }
    for mut stream in streams {
        readers.spawn(async move { stream.events(ALL).await });
    }
    let mut seen = Vec::new();
    for heard in senders.join_all().await {
        let (events, acknowledged) = heard?;
        assert_eq!(acknowledged.len(), EACH);
        assert!(acknowledged.values().all(|times| *times == 1), "{acknowledged:?}");
        seen.push(events);
    }
    seen.extend(readers.join_all().await.into_iter().collect::<Result<Vec<_>>>()?);
    assert_eq!(seen.len(), SOCKETS + STREAMS);
    all_the_same(&seen);
    running.stop().await
}

type Heard = (Vec<Value>, HashMap<String, usize>);

/// Members that each say their part at once, and listen to all; they yield the events, and how often what was
/// acknowledged.
async fn senders_of(address: SocketAddr) -> Result<Vec<impl Future<Output = Result<Heard>>>> {
    let mut senders = Vec::new();
    for sender in 0..SENDERS {
        let mut socket = Socket::join(address, "chat").await?;
        senders.push(async move {
            for number in 0..EACH {
                socket.say("chat", &format!("{sender} {number:02}")).await?;
            }
            let (mut events, mut acknowledged) = (Vec::new(), HashMap::new());
            while events.len() < ALL || acknowledged.len() < EACH {
                let frame = socket.next().await?;
                match frame["type"].as_str() {
                    Some("event") => events.push(frame),
                    _ => *acknowledged.entry(frame["id"].to_string()).or_default() += 1,
                }
            }
            Ok((events, acknowledged))
        });
    }
    Ok(senders)
}

fn all_the_same(seen: &[Vec<Value>]) {
    let first = &seen[0];
    assert_eq!(seqs(first), (1..=ALL as u64).collect::<Vec<_>>());
    for events in seen {
        assert!(events == first, "one saw {:?}, another {:?}", texts(events), texts(first));
    }
    for sender in 0..SENDERS {
        let own: Vec<_> =
            texts(first).into_iter().filter(|text| text.starts_with(&format!("{sender} "))).collect();
        assert!(own.len() == EACH && own.is_sorted(), "sender {sender}: {own:?}");
    }
}
