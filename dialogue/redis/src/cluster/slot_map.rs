//! The assignment of hash slots to primaries, from the reply to
//! [`CLUSTER SLOTS`](https://redis.io/docs/latest/commands/cluster-slots/).

use std::collections::HashSet;

use redis::Value;

use crate::{
    command::{
        SLOTS,
        reply::{integer, list, text},
    },
    connection::ServerAddress,
};

/// The primary of each slot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// The ranges in the order of their slots, without overlaps.
    ranges: Vec<SlotRange>,
}

#[derive(Debug, PartialEq, Eq)]
struct SlotRange {
    first: u16,
    last: u16,
    primary: ServerAddress,
}

impl SlotMap {
    /// Parses the reply to `CLUSTER SLOTS` from the node at `from`; returns `None` if it has another form.
    pub(super) fn read(reply: &Value, from: &ServerAddress) -> Option<Self> {
        let mut ranges = Vec::new();
        for range in list(reply)? {
            let [first, last, primary, ..] = list(range)? else { return None };
            let [host, port, ..] = list(primary)? else { return None };
            // An empty or unknown host stands for the host of the node that replies.
            let host = text(host).filter(|host| !host.is_empty() && *host != "?").unwrap_or(&from.host);
            let (first, last) = (u16::try_from(integer(first)?).ok()?, u16::try_from(integer(last)?).ok()?);
            if last < first {
                return None;
            }
            ranges.push(SlotRange {
                first,
                last,
                primary: ServerAddress { host: host.to_owned(), port: u16::try_from(integer(port)?).ok()? },
            });
        }
        ranges.sort_by_key(|range| range.first);
        Some(SlotMap { ranges })
    }

    pub(super) fn primary(&self, slot: u16) -> Option<&ServerAddress> {
        let after = self.ranges.partition_point(|range| range.first <= slot);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= range.last).then_some(&range.primary)
    }

    /// Returns the primaries that serve at least one slot.
    pub(super) fn primaries(&self) -> HashSet<ServerAddress> {
        self.ranges.iter().map(|range| range.primary.clone()).collect()
    }

    /// Returns a description of the slots that no primary serves, or `None` if all are served.
    pub(super) fn uncovered_reason(&self) -> Option<String> {
        let served: u32 = self.ranges.iter().map(|range| u32::from(range.last - range.first) + 1).sum();
        let missing = u32::from(SLOTS).saturating_sub(served);
        (missing > 0).then(|| format!("no node of the Cluster serves {missing} of its slots"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: i64) -> Value {
        Value::Array(vec![
            Value::BulkString(host.into()),
            Value::Int(port),
            Value::BulkString(b"id".to_vec()),
        ])
    }

    fn range(first: i64, last: i64, primary: Value) -> Value {
        Value::Array(vec![Value::Int(first), Value::Int(last), primary, node("replica", 9)])
    }

    #[test]
    fn every_slot_has_its_primary() {
        let from = ServerAddress { host: "seed".to_owned(), port: 1 };
        let reply = Value::Array(vec![range(8_192, 16_383, node("b", 2)), range(0, 8_000, node("", 1))]);
        let slots = SlotMap::read(&reply, &from).unwrap();
        let primary = |slot| slots.primary(slot).map(ToString::to_string);
        assert_eq!(primary(0).as_deref(), Some("seed:1"));
        assert_eq!(primary(8_000).as_deref(), Some("seed:1"));
        assert_eq!((primary(8_001), primary(16_383).as_deref()), (None, Some("b:2")));
        assert_eq!(
            slots.uncovered_reason().as_deref(),
            Some("no node of the Cluster serves 191 of its slots")
        );
        assert!(SlotMap::read(&Value::Int(1), &from).is_none());
        let reversed = Value::Array(vec![range(16_383, 0, node("b", 2))]);
        assert!(SlotMap::read(&reversed, &from).is_none());
    }
}
