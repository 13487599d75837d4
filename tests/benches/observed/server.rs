//! The server that is counted, in a process of its own.

use std::io;

use dialogue::{RoomHandle, observe::Prometheus};
use futures_util::future::try_join_all;
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::Result;

/// Said by the server.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Said {
    /// Something of the usual length.
    pub(crate) text: String,
}

dialogue::rooms! {
    pub(crate) struct Watched;
    crowd: [Said] via [websocket];
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Nobody,
    Metrics,
    Tracing,
    Both,
    /// A span for each event.
    EachEvent,
}

/// How many events are said at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Burst {
    One,
    Many,
}

impl Look {
    pub(crate) const ALL: [Look; 5] =
        [Look::Nobody, Look::Metrics, Look::Tracing, Look::Both, Look::EachEvent];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Look::Nobody => "nothing",
            Look::Metrics => "metrics",
            Look::Tracing => "tracing",
            Look::Both => "metrics and tracing",
            Look::EachEvent => "the same, with a span for each event",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        Ok(Look::ALL.into_iter().find(|look| look.name() == name).ok_or("nobody looks so")?)
    }
}

impl Burst {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Burst::One => "1",
            Burst::Many => "64",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        Ok([Burst::One, Burst::Many].into_iter().find(|burst| burst.name() == name).ok_or("no such burst")?)
    }
}

/// Says so many events once it is told to.
pub(crate) fn serve(look: Look, burst: Burst, events: usize) -> Result {
    let level = match look {
        Look::Nobody | Look::Metrics => None,
        Look::Tracing | Look::Both => Some(LevelFilter::INFO),
        Look::EachEvent => Some(LevelFilter::DEBUG),
    };
    if let Some(level) = level {
        // A subscriber that keeps the spans and writes lines, to nowhere.
        let lines = tracing_subscriber::fmt::layer().with_writer(io::sink);
        tracing_subscriber::registry().with(level).with(lines).init();
    }
    // One thread does the same in every run.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Watched::server();
        let server = match look {
            Look::Metrics | Look::Both | Look::EachEvent => server.metrics(Prometheus::at("/metrics")),
            Look::Nobody | Look::Tracing => server,
        };
        let server = server.build().await?;
        let listening = server.listen("127.0.0.1:0").await?;
        println!("{}", listening.local_addr());
        let (app, crowd) = (server.router(), server.crowd());
        let serving = tokio::spawn(listening.serve(app));
        tokio::task::spawn_blocking(|| io::stdin().read_line(&mut String::new())).await??;
        say(&crowd, burst, events).await?;
        serving.abort();
        Ok(())
    })
}

async fn say(crowd: &RoomHandle<Crowd>, burst: Burst, events: usize) -> Result {
    let said = || Said { text: "x".repeat(100) };
    match burst {
        Burst::One => {
            for _ in 0..events {
                crowd.trigger(said()).await?;
            }
        }
        Burst::Many => {
            for _ in 0..events / 64 {
                try_join_all((0..64).map(|_| crowd.trigger(said()))).await?;
            }
        }
    }
    Ok(())
}
