//! Who got what: every delivery is checked.

use std::collections::HashSet;

use crate::{histogram::Histogram, wire::Record};

/// What arrived in one phase.
pub(crate) struct Tally {
    pub(crate) phase: u8,
    pub(crate) delivered: u64,
    pub(crate) doubled: u64,
    pub(crate) disordered: u64,
    pub(crate) latency: Histogram,
    /// When the last one arrived.
    pub(crate) last: u64,
    /// Messages that all members of their room have.
    pub(crate) complete: usize,
    members: Vec<Seen>,
    /// How many have each message of the phase.
    got: Vec<usize>,
}

/// What one member has seen.
#[derive(Default, Clone)]
struct Seen {
    room: u16,
    next: u32,
    missed: HashSet<u32>,
}

impl Tally {
    pub(crate) fn new(phase: u8, rooms: impl IntoIterator<Item = usize>, now: u64) -> Self {
        let seen = |room: usize| Seen { room: u16::try_from(room).unwrap_or(u16::MAX), ..Seen::default() };
        Tally {
            phase,
            delivered: 0,
            doubled: 0,
            disordered: 0,
            latency: Histogram::new(),
            last: now,
            complete: 0,
            members: rooms.into_iter().map(seen).collect(),
            got: Vec::new(),
        }
    }

    /// One more message is published.
    pub(crate) fn publish(&mut self) {
        self.got.push(0);
    }

    pub(crate) fn published(&self) -> usize {
        self.got.len()
    }

    /// `member` got `record`; its room has `size` members.
    pub(crate) fn deliver(&mut self, member: usize, size: usize, record: Record, now: u64) {
        let Some(seen) = self.members.get_mut(member).filter(|seen| seen.room == record.room) else { return };
        let Some(got) = self.got.get_mut(record.number as usize) else { return };
        if record.phase != self.phase {
            return;
        }
        if record.seq >= seen.next {
            seen.missed.extend(seen.next..record.seq);
            seen.next = record.seq + 1;
        } else if seen.missed.remove(&record.seq) {
            self.disordered += 1;
        } else {
            self.doubled += 1;
            return;
        }
        *got += 1;
        self.complete += usize::from(*got == size);
        self.delivered += 1;
        self.latency.add(now.saturating_sub(record.stamp));
        self.last = now;
    }
}
