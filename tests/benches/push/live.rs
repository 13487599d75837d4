//! Those who are connected: how long events take to them.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message as Frame, client::IntoClientRequest},
};

use crate::{AcmeServer, Result, Tick};

const MEMBERS: usize = 100;
const EVERY: Duration = Duration::from_millis(20);

/// Members of a room whose events say when they were sent.
pub(crate) struct Live {
    server: AcmeServer,
    born: Instant,
    seen: mpsc::Receiver<u64>,
}

impl Live {
    pub(crate) async fn start(address: SocketAddr, server: &AcmeServer) -> Result<Self> {
        let born = Instant::now();
        let (sender, seen) = mpsc::channel(1 << 20);
        for member in 0..MEMBERS {
            let mut request = format!("ws://{address}/ws").into_client_request()?;
            request.headers_mut().insert("authorization", format!("Bearer live-{member}").parse()?);
            let (mut socket, _) = connect_async(request).await?;
            socket.send(Frame::text(r#"{"type":"join","id":1,"roomId":"ticks"}"#)).await?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Some(Ok(frame)) = socket.next().await {
                    let now = born.elapsed().as_micros() as u64;
                    let Ok(text) = frame.to_text() else { continue };
                    let sent = serde_json::from_str::<Value>(text)
                        .ok()
                        .and_then(|frame| frame["data"]["at"].as_u64());
                    if let Some(sent) = sent {
                        // Whoever counts may have enough.
                        let _ = sender.try_send(now.saturating_sub(sent));
                    }
                }
            });
        }
        Ok(Live { server: server.clone(), born, seen })
    }

    /// The latencies of a while, in microseconds.
    pub(crate) async fn watch(&mut self, time: Duration) -> Result<Vec<u64>> {
        while self.seen.try_recv().is_ok() {}
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = Instant::now() + time;
        while Instant::now() < end {
            ticks.tick().await;
            self.server.ticks().trigger(Tick { at: self.born.elapsed().as_micros() as u64 }).await?;
        }
        tokio::time::sleep(EVERY).await;
        Ok(std::iter::from_fn(|| self.seen.try_recv().ok()).collect())
    }
}

/// The median and the 99th of a hundred.
pub(crate) fn percentiles(mut latencies: Vec<u64>) -> (u64, u64) {
    latencies.sort_unstable();
    let at =
        |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or_default();
    (at(0.5), at(0.99))
}
