//! A server that goes in the middle of a burst: in good order, or not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use crate::harness::{Instance, Result, Socket, Stream, seqs, soon};

const MEMBERS: usize = 20;
const SENDERS: usize = 4;
/// What one has said before the server is told to go.
const TALKED: usize = 50;
/// As many as the conformance server's `chat` retains.
const BURST: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_deployment_reaches_everybody() -> Result {
    let mut process = Instance::start(&[]).await?;
    let mut members = JoinSet::new();
    for _ in 0..MEMBERS {
        let mut member = Socket::join(process.address, "chat").await?;
        members.spawn(async move { member.rest().await });
    }
    let mut stream = Stream::open(process.address, "room=chat", "").await?;
    let reading = tokio::spawn(async move {
        let mut frames = Vec::new();
        while let Some((_, data)) = stream.next().await? {
            frames.push(data);
        }
        Result::<_>::Ok(frames)
    });
    let (mut senders, (started, mut starting)) = (Vec::new(), mpsc::channel(1));
    for _ in 0..SENDERS {
        senders.push(Socket::join(process.address, "chat").await?);
    }
    let senders: JoinSet<_> = senders.into_iter().map(|sender| talk(sender, started.clone())).collect();
    soon("they talk", starting.recv()).await?;
    process.terminate().await?;
    let mut acknowledged = BTreeSet::new();
    for sender in senders.join_all().await {
        let (frames, code) = sender?;
        assert_eq!(code, Some(1012));
        acknowledged.extend(seqs(&replies(&frames)));
        members.spawn(async move { Ok((frames, code)) });
    }
    assert!(acknowledged.len() >= TALKED);

    for member in members.join_all().await {
        let (frames, code) = member?;
        has_everything(&frames, &acknowledged);
        assert_eq!(code, Some(1012));
    }
    has_everything(&reading.await??, &acknowledged);
    assert!(process.ended().await?, "it did not exit 0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_everybody_is_told_and_retries_count_once() -> Result {
    let mut process = Instance::start(&[]).await?;
    let mut member = Socket::join(process.address, "chat").await?;
    let mut stream = Stream::open(process.address, "room=chat", "").await?;
    let mut sender = Socket::join(process.address, "chat").await?;
    burst(&mut sender, 0..BURST / 2).await?;
    member.events(BURST / 10).await?;
    stream.events(BURST / 10).await?;
    process.kill().await?;
    process.restart().await?;

    let epoch = member.since()["epoch"].clone();
    let (mut member, joined) = Socket::rejoin(process.address, "chat", member.since()).await?;
    assert!(joined["resume"] == "lost" && joined["epoch"] != epoch, "{joined}");
    let stream = Stream::open(process.address, "room=chat", &stream.last_id).await?;
    assert_eq!(stream.joined["resume"], "lost");

    // What got no `ok` is sent again, some of it twice.
    let (said, _) = sender.rest().await?;
    let unknown = replies(&said).len()..BURST / 2 + 10;
    let (mut sender, _) = Socket::rejoin(process.address, "chat", sender.since()).await?;
    burst(&mut sender, unknown.clone()).await?;
    burst(&mut sender, unknown.clone()).await?;
    // Answers to different triggers may overtake each other.
    let mut answers = BTreeMap::<String, Vec<Value>>::new();
    while answers.values().map(Vec::len).sum::<usize>() < unknown.len() * 2 {
        let frame = sender.next().await?;
        if frame["type"] == "ok" {
            answers.entry(frame["id"].to_string()).or_default().push(frame);
        }
    }
    for answers in answers.values() {
        let [first, again] = &answers[..] else { panic!("not answered twice: {answers:?}") };
        assert!(first["duplicate"].is_null() && again["duplicate"] == true);
        assert_eq!(first["eventId"], again["eventId"]);
    }
    let events = member.events(unknown.len()).await?;
    let expected: Vec<_> = unknown.map(|number| json!({ "text": number.to_string() })).collect();
    assert_eq!(events.iter().map(|event| event["data"].clone()).collect::<Vec<_>>(), expected);
    assert_eq!(
        sender.ask(json!({ "type": "getHistory", "id": "last", "roomId": "chat", "limit": 1 })).await?["events"]
            [0]["seq"],
        events.len()
    );
    Ok(())
}

/// Says one thing after the other until the socket closes; tells `started` when it is well on the way.
async fn talk(mut sender: Socket, started: mpsc::Sender<()>) -> Result<(Vec<Value>, Option<u16>)> {
    let mut frames = Vec::new();
    for number in 0.. {
        if number == TALKED {
            let _ = started.try_send(());
        }
        // It may be closed at any time.
        let _ = burst(&mut sender, number..number + 1).await;
        loop {
            match sender.next_or_close().await? {
                Ok(frame) => frames.push(frame),
                Err(code) => return Ok((frames, code)),
            }
            if frames.last().is_some_and(|last| last["type"] == "ok") {
                break;
            }
        }
    }
    Ok((frames, None))
}

/// Says each number once, with a key, without waiting.
async fn burst(sender: &mut Socket, numbers: std::ops::Range<usize>) -> Result {
    for number in numbers {
        let (id, text) = (format!("ok {number}"), number.to_string());
        let data = json!({ "text": text });
        sender
            .send(json!({ "type": "trigger", "id": id, "roomId": "chat", "event": "message", "data": data, "key": text }))
            .await?;
    }
    Ok(())
}

fn replies(frames: &[Value]) -> Vec<Value> {
    frames.iter().filter(|frame| frame["type"] == "ok").cloned().collect()
}

/// A gapless beginning of the log that holds what was acknowledged.
fn has_everything(frames: &[Value], acknowledged: &BTreeSet<u64>) {
    let events: Vec<_> = frames.iter().filter(|frame| frame["type"] == "event").cloned().collect();
    let seen = seqs(&events);
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    let last = acknowledged.last().copied().unwrap_or(0);
    assert!(last <= seen.len() as u64, "{last} was acknowledged, and {} delivered", seen.len());
    assert!(frames.iter().any(|frame| frame["type"] == "reconnect"));
}
