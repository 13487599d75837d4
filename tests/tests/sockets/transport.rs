//! A server on something that is no TCP socket: the connection's own task writes then.

use std::io;

use axum::serve::Listener;
use dialogue::Server;
use serde_json::Value;
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
};

use crate::harness::{Acme, AcmeServer, Message, Noise, Result, Socket, seqs, soon};

/// Pipes in memory, of so many bytes.
const PIPE: usize = 4 << 10;

struct Pipes(mpsc::Receiver<DuplexStream>);

impl Listener for Pipes {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(pipe) => (pipe, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

struct Piped {
    server: AcmeServer,
    pipes: mpsc::Sender<DuplexStream>,
}

impl Piped {
    async fn start(max_outbox_bytes: usize) -> Result<Self> {
        let server = Acme::server().max_outbox_bytes(max_outbox_bytes).build().await?;
        let (pipes, accepted) = mpsc::channel(1);
        let routes = Server::router(&server);
        tokio::spawn(async move { axum::serve(Pipes(accepted), routes).await });
        Ok(Piped { server, pipes })
    }

    async fn join(&self) -> Result<Socket<DuplexStream>> {
        let (ours, theirs) = duplex(PIPE);
        self.pipes.send(theirs).await?;
        let mut socket = Socket::over(ours, "/ws").await?;
        socket.enter("chat", Value::Null).await?;
        Ok(socket)
    }

    async fn say(&self, text: String) -> Result {
        self.server.chat().trigger(Message { text }).await?;
        Ok(())
    }
}

#[tokio::test]
async fn everybody_sees_everything_in_order() -> Result {
    const EVENTS: usize = 100;
    let piped = Piped::start(1 << 20).await?;
    let mut members = Vec::new();
    for _ in 0..20 {
        members.push(piped.join().await?);
    }
    for number in 0..EVENTS {
        members[number % 20].say("chat", &number.to_string()).await?;
    }
    for member in &mut members {
        assert_eq!(seqs(&member.events(EVENTS).await?), (1..=EVENTS as u64).collect::<Vec<_>>());
    }
    Ok(())
}

#[tokio::test]
async fn who_stalls_is_cut_and_the_others_are_not() -> Result {
    let piped = Piped::start(64 << 10).await?;
    let (mut stalled, mut reader) = (piped.join().await?, piped.join().await?);
    let mut say = async || -> Result {
        piped.say("x".repeat(4 << 10)).await?;
        reader.events(1).await.map(drop)
    };
    let mut said = 0;
    // Until it is cut. Then it has some seconds in which to read why.
    while said < 200 && piped.server.users().count() == 2 {
        say().await?;
        said += 1;
    }
    let (frames, code) = stalled.rest().await?;
    assert_eq!(code, Some(4409));
    for _ in said..200 {
        say().await?;
    }
    let (mut seen, mut back) = (seqs(&frames), piped.join().await?);
    assert!(seen.len() < 100, "{} events waited for it", seen.len());
    assert_eq!(back.enter("chat", stalled.since()).await?["resume"], "complete");
    seen.extend(seqs(&back.events(200 - seen.len()).await?));
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn what_a_stalled_reader_misses_is_counted() -> Result {
    let piped = Piped::start(64 << 10).await?;
    let mut stalled = piped.join().await?;
    for number in 0..200 {
        piped.server.chat().trigger(Noise { number, pad: "x".repeat(1 << 10) }).await?;
    }
    let (mut heard, mut skipped) = (0, 0);
    while heard + skipped < 200 {
        let frame = stalled.next().await?;
        heard += u64::from(frame["type"] == "event");
        skipped += frame["count"].as_u64().unwrap_or(0);
    }
    assert!(heard + skipped == 200 && skipped > 100, "{heard} heard, {skipped} skipped");
    Ok(())
}

#[tokio::test]
async fn both_sides_close_in_good_order() -> Result {
    let piped = Piped::start(1 << 20).await?;
    piped.join().await?.close().await?;
    let mut last = piped.join().await?;
    piped.say("before the end".to_owned()).await?;
    let server = piped.server.clone();
    let draining = tokio::spawn(async move { server.drain().await });
    let (frames, code) = last.rest().await?;
    assert_eq!((seqs(&frames), code), (vec![1], Some(1012)));
    Ok(soon("the server drains", draining).await??)
}
