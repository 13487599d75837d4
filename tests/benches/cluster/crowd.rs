//! Rooms whose members are spread over the instances, and one of each talks.

use std::time::{Duration, Instant};

use dialogue_tests::{Instance, Result, Socket, soon};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};
use tokio_tungstenite::tungstenite::Message;

use crate::{IN_FLIGHT, TEXT};

pub(crate) const ROOMS: usize = 32;
/// Of each room.
pub(crate) const MEMBERS: usize = 3;

pub(crate) struct Crowd {
    writers: Vec<(String, Socket)>,
    readers: Vec<Socket>,
}

impl Crowd {
    pub(crate) async fn join(instances: &[Instance]) -> Result<Self> {
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        for room in 0..ROOMS {
            let id = format!("project:{room}");
            // Each instance has as many writers as any other, and each room's members are on as many as there are.
            for member in 0..MEMBERS {
                let at = &instances[(room + member) % instances.len()];
                let socket = Socket::join(at.address, &id).await?;
                match member {
                    0 => writers.push((id.clone(), socket)),
                    _ => readers.push(socket),
                }
            }
        }
        Ok(Crowd { writers, readers })
    }

    /// Talks for so long; yields how much was acknowledged, and how much was heard.
    pub(crate) async fn talk(self, time: Duration) -> Result<(u64, u64)> {
        let (ending, ends) = watch::channel(false);
        let (mut talking, mut listening) = (JoinSet::new(), JoinSet::new());
        for socket in self.readers {
            listening.spawn(listen(socket, ends.clone()));
        }
        let end = Instant::now() + time;
        for (room, socket) in self.writers {
            talking.spawn(write(room, socket, end));
        }
        let (mut triggers, mut deliveries) = (0, 0);
        while let Some(done) = talking.join_next().await {
            let (accepted, heard) = done??;
            (triggers, deliveries) = (triggers + accepted, deliveries + heard);
        }
        ending.send_replace(true);
        deliveries += listening.join_all().await.into_iter().sum::<Result<u64>>()?;
        Ok((triggers, deliveries))
    }
}

/// Keeps so many triggers in flight; yields how many were accepted, and how many events were heard.
async fn write(room: String, mut socket: Socket, end: Instant) -> Result<(u64, u64)> {
    let trigger = json!({ "type": "trigger", "id": 1, "roomId": room, "event": "message", "data": { "text": "x".repeat(TEXT) } });
    let trigger = Message::text(trigger.to_string());
    let (mut accepted, mut heard, mut in_flight) = (0, 0, 0_usize);
    loop {
        if Instant::now() < end && in_flight <= IN_FLIGHT / 2 {
            for _ in in_flight..IN_FLIGHT {
                socket.frames.feed(trigger.clone()).await?;
            }
            socket.frames.flush().await?;
            in_flight = IN_FLIGHT;
        }
        if in_flight == 0 {
            return Ok((accepted, heard));
        }
        let frame = soon("a frame", socket.frames.next()).await?.ok_or("the connection ended")??;
        match frame.to_text()? {
            text if text.starts_with("{\"type\":\"event\"") => heard += 1,
            text if text.starts_with("{\"type\":\"ok\"") => {
                (accepted, in_flight) = (accepted + 1, in_flight - 1)
            }
            other => return Err(other.to_owned().into()),
        }
    }
}

/// Counts the events until told to end.
async fn listen(mut socket: Socket, mut ends: watch::Receiver<bool>) -> Result<u64> {
    let mut heard = 0;
    loop {
        tokio::select! {
            frame = socket.frames.next() => {
                let frame = frame.ok_or("the connection ended")??;
                heard += u64::from(frame.is_text());
            }
            _ = ends.changed() => return Ok(heard),
        }
    }
}
