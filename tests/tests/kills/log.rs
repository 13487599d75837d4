//! A room's log, as its history tells it in the end.

use std::{collections::BTreeSet, net::SocketAddr};

use serde_json::Value;

use crate::harness::{Instance, Result, ask, seqs, texts};

/// All events, oldest first.
pub(crate) struct Log {
    pub(crate) events: Vec<Value>,
}

impl Log {
    pub(crate) async fn read(address: SocketAddr, room: &str) -> Result<Self> {
        let (mut events, mut before) = (Vec::new(), String::new());
        let key = format!("Authorization: Bearer {}\r\n", Instance::KEY);
        loop {
            let path = format!("/rooms/{room}/history?limit=200{before}");
            let page: Value = serde_json::from_str(&ask(address, "GET", &path, &key).await?.1)?;
            events.extend(page["events"].as_array().ok_or_else(|| page.to_string())?.iter().cloned());
            match (&page["more"], events.last()) {
                (Value::Bool(true), Some(oldest)) => before = format!("&before={}", oldest["seq"]),
                _ => break,
            }
        }
        events.reverse();
        Ok(Log { events })
    }

    /// Wants numbers from 1 without a hole, and no text twice: each was said under a key of its own.
    pub(crate) fn has_no_hole(&self) -> Result {
        let numbers = seqs(&self.events);
        if numbers != (1..).take(numbers.len()).collect::<Vec<u64>>() {
            return Err(format!("the log's numbers are {numbers:?}").into());
        }
        let (texts, mut seen) = (texts(&self.events), BTreeSet::new());
        match texts.iter().find(|text| !seen.insert(**text)) {
            Some(twice) => Err(format!("{twice} is in the log twice").into()),
            None => Ok(()),
        }
    }
}
