//! Connections that break, reload and stall: nothing is lost, doubled, or kept for ever.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{Message, Noise, Price, Result, Running, Socket, Stream, seqs, small_window, soon};

const BURST: u64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_reset_in_a_burst_misses_nothing() -> Result {
    let running = Running::start().await?;
    let mut socket = Socket::join(running.address, "chat").await?;
    let burst = burst(&running, BURST);
    let mut seen = Vec::new();
    // Again and again, until the burst is over.
    while seen.len() < BURST as usize {
        seen.extend(socket.events((BURST as usize / 7).min(BURST as usize - seen.len())).await?);
        let since = socket.since();
        socket.reset()?;
        let joined;
        (socket, joined) = Socket::rejoin(running.address, "chat", since).await?;
        assert_eq!(joined["resume"], "complete");
    }
    assert_eq!(seqs(&seen), (1..=BURST).collect::<Vec<_>>());
    burst.await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_in_a_burst_misses_nothing() -> Result {
    let running = Running::start().await?;
    let mut stream = Stream::open(running.address, "room=chat", "").await?;
    let burst = burst(&running, BURST);
    let mut seen = Vec::new();
    while seen.len() < BURST as usize {
        seen.extend(stream.events((BURST as usize / 7).min(BURST as usize - seen.len())).await?);
        let last_id = stream.last_id.clone();
        stream.reset()?;
        stream = Stream::open(running.address, "room=chat", &last_id).await?;
        assert_eq!(stream.joined["resume"], "complete");
    }
    assert_eq!(seqs(&seen), (1..=BURST).collect::<Vec<_>>());
    burst.await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_reloads_misses_nothing() -> Result {
    let running = Running::start().await?;
    let mut socket = Socket::join(running.address, "chat").await?;
    let burst = burst(&running, BURST);
    let mut seen = socket.events(BURST as usize / 3).await?;
    let since = socket.since();
    socket.close().await?;
    let (mut socket, joined) = Socket::rejoin(running.address, "chat", since).await?;
    assert_eq!(joined["resume"], "complete");
    seen.extend(socket.events(BURST as usize - seen.len()).await?);
    assert_eq!(seqs(&seen), (1..=BURST).collect::<Vec<_>>());
    burst.await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_socket_is_cut_and_catches_up() -> Result {
    let running = Running::with(|server| server.max_outbox_bytes(64 << 10)).await?;
    let mut reader = Socket::join(running.address, "chat").await?;
    let mut stalled = Socket::over(small_window(running.address).await?, "/ws").await?;
    stalled.enter("chat", Value::Null).await?;
    let mut say = async || -> Result {
        running.server.chat().trigger(Message { text: pad() }).await?;
        // The others have it while the stalled one has not.
        reader.events(1).await.map(drop)
    };
    let mut said = 0;
    // Until it is cut. Then it has some seconds in which to read why.
    while said < LARGE && running.server.users().count() == 2 {
        say().await?;
        said += 1;
    }
    let (frames, code) = stalled.rest().await?;
    assert_eq!(code, Some(4409));
    let mut seen = seqs(&frames);
    assert!(seen.len() < LARGE as usize / 2, "{} events waited for it", seen.len());
    for _ in said..LARGE {
        say().await?;
    }
    let (mut back, joined) = Socket::rejoin(running.address, "chat", stalled.since()).await?;
    assert_eq!(joined["resume"], "complete");
    seen.extend(seqs(&back.events(LARGE as usize - seen.len()).await?));
    assert_eq!(seen, (1..=LARGE).collect::<Vec<_>>());
    running.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_stream_ends_and_catches_up() -> Result {
    let running = Running::with(|server| server.max_outbox_bytes(64 << 10)).await?;
    let wire = small_window(running.address).await?;
    let mut stalled = Stream::over(wire, "/events?room=chat", "").await?;
    for _ in 0..LARGE {
        running.server.chat().trigger(Message { text: pad() }).await?;
    }
    let mut seen = Vec::new();
    while let Some((_, data)) = stalled.next().await? {
        seen.extend(data["seq"].as_u64());
    }
    assert!(seen.len() < LARGE as usize / 2, "{} events waited for it", seen.len());
    let mut back = Stream::open(running.address, "room=chat", &stalled.last_id).await?;
    assert_eq!(back.joined["resume"], "complete");
    seen.extend(seqs(&back.events(LARGE as usize - seen.len()).await?));
    assert_eq!(seen, (1..=LARGE).collect::<Vec<_>>());
    running.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ephemeral_events_that_a_stalled_reader_misses_are_counted() -> Result {
    let running = Running::start().await?;
    let mut stalled = Socket::over(small_window(running.address).await?, "/ws").await?;
    stalled.enter("chat", Value::Null).await?;
    for number in 0..LARGE {
        running.server.chat().trigger(Noise { number, pad: pad() }).await?;
    }
    let (mut heard, mut skipped) = (Vec::new(), 0);
    while heard.len() as u64 + skipped < LARGE {
        let frame = stalled.next().await?;
        heard.extend(frame["data"]["number"].as_u64());
        skipped += frame["count"].as_u64().unwrap_or(0);
    }
    assert!(heard.is_sorted() && heard.len() as u64 + skipped == LARGE);
    assert!(skipped > LARGE / 2, "{skipped} skipped");
    // And it is a member as before.
    running.server.chat().trigger(Message { text: "still there?".to_owned() }).await?;
    assert_eq!(stalled.next().await?["data"], json!({ "text": "still there?" }));
    running.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_gets_the_newest_of_each_key() -> Result {
    const SYMBOLS: [&str; 3] = ["A", "B", "C"];
    let running = Running::start().await?;
    let mut stalled = Socket::over(small_window(running.address).await?, "/ws").await?;
    stalled.enter("ticker", Value::Null).await?;
    for cents in 1..=LARGE {
        for symbol in SYMBOLS {
            let symbol = symbol.to_owned();
            running.server.ticker().trigger(Price { symbol, cents, pad: pad() }).await?;
        }
    }
    let (mut newest, mut seen) = (BTreeMap::new(), Vec::new());
    while !(newest.len() == SYMBOLS.len() && newest.values().all(|cents| *cents == LARGE)) {
        let event = stalled.events(1).await?.remove(0);
        newest.insert(event["data"]["symbol"].to_string(), event["data"]["cents"].as_u64().unwrap_or(0));
        seen.push(event);
    }
    assert!(seqs(&seen).is_sorted_by(|a, b| a < b));
    assert!(seen.len() < LARGE as usize, "{} of {} were sent", seen.len(), LARGE * 3);
    running.stop().await
}

#[tokio::test]
async fn who_asks_for_large_history_gets_it_in_pages() -> Result {
    let running = Running::start().await?;
    let mut socket = Socket::open(running.address).await?;
    for _ in 0..LARGE / 2 {
        running.server.chat().trigger(Message { text: pad() }).await?;
    }
    socket.enter("chat", Value::Null).await?;
    let (mut seen, mut more) = (Vec::new(), true);
    while more {
        let before = seen.last().copied().unwrap_or(LARGE);
        let ask =
            json!({ "type": "getHistory", "id": before, "roomId": "chat", "before": before, "limit": 200 });
        let page = socket.ask(ask).await?;
        seen.extend(seqs(page["events"].as_array().ok_or("no page")?));
        more = page["more"] == true;
    }
    assert_eq!(seen, (1..=LARGE / 2).rev().collect::<Vec<_>>());
    running.stop().await
}

/// Events of [`pad`]'s size that no socket holds at once.
const LARGE: u64 = 400;

fn pad() -> String {
    "x".repeat(32 << 10)
}

/// Triggers `events` messages while the test goes on.
fn burst(running: &Running, events: u64) -> JoinHandle<Result> {
    let chat = running.server.chat();
    tokio::spawn(async move {
        soon("a burst", async {
            for number in 1..=events {
                chat.trigger(Message { text: number.to_string() }).await?;
            }
            Ok(())
        })
        .await?
    })
}
