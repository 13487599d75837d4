//! What a Cluster says of its slots.

use std::collections::HashSet;

use redis::Value;

use super::{
    reply::{integer, list, text},
    slot::SLOTS,
    url::Address,
};

/// The primary of each slot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// First and last slot, without overlaps, in order.
    ranges: Vec<(u16, u16, Address)>,
}

impl SlotMap {
    /// Reads the answer to `CLUSTER SLOTS` from the node at `from`; `None` if it is none.
    pub(super) fn read(answer: &Value, from: &Address) -> Option<Self> {
        let mut ranges = Vec::new();
        for range in list(answer)? {
            let [first, last, primary, ..] = list(range)? else { return None };
            let [host, port, ..] = list(primary)? else { return None };
            // A node that knows no host for another means its own.
            let host = text(host).filter(|host| !host.is_empty() && *host != "?").unwrap_or(&from.host);
            let address = Address { host: host.to_owned(), port: u16::try_from(integer(port)?).ok()? };
            ranges.push((u16::try_from(integer(first)?).ok()?, u16::try_from(integer(last)?).ok()?, address));
        }
        ranges.sort_by_key(|(first, ..)| *first);
        Some(SlotMap { ranges })
    }

    pub(super) fn primary(&self, slot: u16) -> Option<&Address> {
        let after = self.ranges.partition_point(|(first, ..)| *first <= slot);
        let (_, last, address) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *last).then_some(address)
    }

    /// Every primary that has a slot.
    pub(super) fn primaries(&self) -> HashSet<Address> {
        self.ranges.iter().map(|(.., address)| address.clone()).collect()
    }

    /// What is wrong, where a slot has no primary.
    pub(super) fn gap(&self) -> Option<String> {
        let served: u32 = self.ranges.iter().map(|(first, last, _)| u32::from(last - first) + 1).sum();
        let missing = u32::from(SLOTS).saturating_sub(served);
        (missing > 0).then(|| format!("the Cluster serves {missing} of its slots nowhere"))
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
        let from = Address { host: "seed".to_owned(), port: 1 };
        let answer = Value::Array(vec![range(8_192, 16_383, node("b", 2)), range(0, 8_000, node("", 1))]);
        let slots = SlotMap::read(&answer, &from).unwrap();
        let primary = |slot| slots.primary(slot).map(ToString::to_string);
        assert_eq!(primary(0).as_deref(), Some("seed:1"));
        assert_eq!(primary(8_000).as_deref(), Some("seed:1"));
        assert_eq!((primary(8_001), primary(16_383).as_deref()), (None, Some("b:2")));
        assert_eq!(slots.gap().as_deref(), Some("the Cluster serves 191 of its slots nowhere"));
        assert!(SlotMap::read(&Value::Int(1), &from).is_none());
    }
}
