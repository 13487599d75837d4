//! The end of a run: all is well again, and everything has to be as it was promised.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    application::ROOMS,
    world::{NODES, Report, USERS, World},
};
use crate::store::{Order, Query, Store};

/// The time in which all has to be well again: longer than what nodes wait before they try again.
const SETTLE_TIME: Duration = Duration::from_secs(120);

impl World {
    /// Waits until all clients have everything, and compares that with the store.
    pub(super) async fn settle(&self) {
        let end = Instant::now() + SETTLE_TIME;
        loop {
            sleep(Duration::from_secs(1)).await;
            let Some(missing) = self.missing().await else { break };
            if Instant::now() > end {
                self.truth.lock().violated(format!("in the end, {missing}"));
                break;
            }
        }
        for room in ROOMS {
            let log = self.log(room).await;
            self.truth.lock().compare(room, &log);
        }
    }

    /// Returns what isn't as it has to be in the end.
    async fn missing(&self) -> Option<String> {
        for room in ROOMS {
            let head = self.store.head(room).await.expect("a store in memory");
            let head =
                head.map(|head| (head.last.seq, head.last.event_id.as_str().to_owned())).unwrap_or_default();
            for user in USERS {
                let reports = self.reports.lock();
                let Some(Report { is_settled, positions, members }) = reports.get(user) else {
                    return Some(format!("{user} is missing"));
                };
                if !members.iter().eq(USERS.iter()) {
                    return Some(format!("{user} was told that the members are {members:?}"));
                }
                if !is_settled {
                    return Some(format!("{user} has events that aren't accepted"));
                }
                let position = positions.get(room).cloned().flatten();
                if position.as_ref().map(|at| (at.seq, at.event_id.clone())) != Some(head.clone()) {
                    return Some(format!("{user} is at {position:?} in {room}, whose head is {head:?}"));
                }
            }
        }
        for node in 0..NODES {
            let server = self.nodes.lock()[node].server.clone();
            let Some(server) = server else { return Some(format!("node {node} is down")) };
            let members = server.chat().members().await;
            if members.as_deref().ok() != Some(&USERS.map(str::to_owned)) {
                return Some(format!("node {node} says that the members are {members:?}"));
            }
        }
        None
    }

    /// Returns the log of a room: number, id and text of each event.
    async fn log(&self, room: &str) -> Vec<(u64, String, String)> {
        let mut events = Vec::new();
        loop {
            let mut query = Query::new(Order::OldestFirst, 1_000);
            query.after = events.last().map(|(seq, ..): &(u64, String, String)| *seq);
            let page = self.store.read(room, query).await.expect("a store in memory");
            if page.events.is_empty() {
                return events;
            }
            events.extend(page.events.iter().map(|event| {
                let data: serde_json::Value = serde_json::from_slice(&event.data).expect("JSON");
                let text = data["text"].as_str().unwrap_or_default().to_owned();
                (event.seq, event.event_id.as_str().to_owned(), text)
            }));
        }
    }
}
