//! The queue of the group commit: waiting writes, and the election of a leader that writes for all.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    cluster::backplane::{Publication, Published},
    store::{Append, StoreError},
};

/// A write of one room.
pub(super) trait GroupWrite: Sized {
    /// The result of the write.
    type Done;

    /// Returns the bytes of its payloads.
    fn bytes(&self) -> usize;
}

/// Writes that wait for the store.
///
/// Up to a number of rooms lead: each writes a group of the waiting writes, and hands the lead to the one that has
/// waited longest, so there is a leader while writes wait. After a group of several, the next leader first lets the
/// members of that group come back.
pub(super) struct CommitQueue<W: GroupWrite> {
    state: Mutex<QueueState<W>>,
    max_leaders: usize,
}

struct QueueState<W: GroupWrite> {
    writes: VecDeque<QueuedWrite<W>>,
    bytes: usize,
    leaders: usize,
    /// The size of the last group of the lead that ended last.
    last_group: usize,
}

struct QueuedWrite<W: GroupWrite> {
    write: W,
    bytes: usize,
    reply: oneshot::Sender<WriteReply<W>>,
}

/// The size of a queue of writes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QueuedWrites {
    /// The bytes of their payloads.
    pub(crate) bytes: usize,
    /// The number of writes: a room has one at a time.
    pub(crate) rooms: usize,
}

/// A group of writes for one call of the store.
pub(super) struct WriteGroup<W: GroupWrite> {
    /// The leader's own write, if it is not done yet, and those of others.
    pub(super) writes: Vec<W>,
    /// The senders of the others' replies, in their order.
    pub(super) replies: Vec<oneshot::Sender<WriteReply<W>>>,
}

/// The reply to a waiting write.
pub(super) enum WriteReply<W: GroupWrite> {
    /// The outcome of its write.
    Done(Result<W::Done, StoreError>),
    /// The lead: it has to write for all that wait, itself first.
    Lead(GroupLeader<W>),
}

/// The result of entering the queue.
pub(super) enum Admission<W: GroupWrite> {
    Leads(GroupLeader<W>),
    Waits(oneshot::Receiver<WriteReply<W>>),
}

/// The lead of a group. It passes to the next waiting write when it is dropped, even by a caller that has gone.
pub(super) struct GroupLeader<W: GroupWrite> {
    queue: Arc<CommitQueue<W>>,
    /// The leader's own write, until it is in a group.
    own_write: Option<W>,
    /// The size of the last group.
    last_group: usize,
}

/// Bytes of payloads that may wait; beyond, writes are refused.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Rooms that may wait likewise.
const MAX_QUEUED_ROOMS: usize = 16 << 10;
/// Times that a leader yields to other tasks while fewer writes have come than were in the last group.
const MAX_GATHER_YIELDS: usize = 8;
/// Bytes of payloads after which a group is closed.
const MAX_GROUP_BYTES: usize = 4 << 20;

impl GroupWrite for Append {
    type Done = ();

    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.data.len()).sum()
    }
}

impl GroupWrite for Publication {
    type Done = Published;

    fn bytes(&self) -> usize {
        self.drafts.iter().map(|draft| draft.event.data.len()).sum()
    }
}

impl<W: GroupWrite> CommitQueue<W> {
    pub(super) fn new(max_leaders: usize) -> Arc<Self> {
        Arc::new(CommitQueue {
            state: Mutex::new(QueueState { writes: VecDeque::new(), bytes: 0, leaders: 0, last_group: 0 }),
            max_leaders: max_leaders.max(1),
        })
    }

    /// Enters the queue; returns `None` if it is full.
    pub(super) fn enter(self: &Arc<Self>, write: W) -> Option<Admission<W>> {
        let bytes = write.bytes();
        let mut state = self.state.lock();
        if state.bytes >= MAX_QUEUED_BYTES || state.writes.len() >= MAX_QUEUED_ROOMS {
            return None;
        }
        if state.leaders < self.max_leaders {
            state.leaders += 1;
            let (queue, last_group) = (Arc::clone(self), state.last_group);
            return Some(Admission::Leads(GroupLeader { queue, own_write: Some(write), last_group }));
        }
        state.bytes += bytes;
        let (reply, receiver) = oneshot::channel();
        state.writes.push_back(QueuedWrite { write, bytes, reply });
        Some(Admission::Waits(receiver))
    }

    /// Returns the size of the queue.
    pub(super) fn queued(&self) -> QueuedWrites {
        let state = self.state.lock();
        QueuedWrites { bytes: state.bytes, rooms: state.writes.len() }
    }

    /// Passes the lead, with the size of its last group, to the next waiting write; ends it if there is none.
    fn pass(self: &Arc<Self>, last_group: usize) {
        let next = {
            let mut state = self.state.lock();
            let next = state.next();
            if next.is_none() {
                state.leaders -= 1;
                state.last_group = last_group;
            }
            next
        };
        if let Some(QueuedWrite { write, reply, .. }) = next {
            // If the caller has just gone, the lead is dropped with the reply, and passes on.
            let _ = reply.send(WriteReply::Lead(GroupLeader {
                queue: Arc::clone(self),
                own_write: Some(write),
                last_group,
            }));
        }
    }
}

impl<W: GroupWrite> QueueState<W> {
    /// Takes the next write whose caller still waits; one that gave up has reported a failure.
    fn next(&mut self) -> Option<QueuedWrite<W>> {
        while let Some(queued) = self.writes.pop_front() {
            self.bytes -= queued.bytes;
            if !queued.reply.is_closed() {
                return Some(queued);
            }
        }
        None
    }
}

impl<W: GroupWrite> GroupLeader<W> {
    /// Yields until the members of the last group have come back: they were just answered, and may have more to write.
    /// Otherwise the first of them would write alone while the others wait for it.
    pub(super) async fn gather(&self) {
        for _ in 0..MAX_GATHER_YIELDS {
            if 1 + self.queue.state.lock().writes.len() >= self.last_group {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes the next group: the leader's own write and those of others, with the senders of their replies.
    pub(super) fn group(&mut self) -> WriteGroup<W> {
        let mut writes: Vec<_> = self.own_write.take().into_iter().collect();
        let mut state = self.queue.state.lock();
        let (mut bytes, mut replies) = (0, Vec::new());
        while bytes < MAX_GROUP_BYTES {
            let Some(queued) = state.next() else { break };
            bytes += queued.bytes;
            writes.push(queued.write);
            replies.push(queued.reply);
        }
        self.last_group = writes.len();
        WriteGroup { writes, replies }
    }
}

impl<W: GroupWrite> Drop for GroupLeader<W> {
    fn drop(&mut self) {
        self.queue.pass(self.last_group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(room_id: &str) -> Append {
        Append::new(room_id.into(), "e".into(), Vec::new())
    }

    fn enter(queue: &Arc<CommitQueue<Append>>, room_id: &str) -> Admission<Append> {
        queue.enter(append(room_id)).expect("there is room")
    }

    fn rooms(lead: &mut GroupLeader<Append>) -> Vec<String> {
        lead.group().writes.iter().map(|append| append.room_id.to_string()).collect()
    }

    fn lead(entered: Admission<Append>) -> GroupLeader<Append> {
        match entered {
            Admission::Leads(lead) => lead,
            Admission::Waits(mut reply) => match reply.try_recv() {
                Ok(WriteReply::Lead(lead)) => lead,
                _ => panic!("it waits"),
            },
        }
    }

    #[test]
    fn a_write_that_comes_meanwhile_is_in_the_next_group() {
        let queue = CommitQueue::new(1);
        let mut first = lead(enter(&queue, "a"));
        let (second, _third) = (enter(&queue, "b"), enter(&queue, "c"));
        assert_eq!(rooms(&mut first), ["a", "b", "c"]);
        drop((second, first));
        assert_eq!(rooms(&mut lead(enter(&queue, "d"))), ["d"]);
    }

    #[test]
    fn the_lead_passes_over_callers_that_have_gone() {
        let queue = CommitQueue::new(1);
        let mut first = lead(enter(&queue, "a"));
        assert_eq!(rooms(&mut first), ["a"]);
        let (gone, second) = (enter(&queue, "b"), enter(&queue, "c"));
        drop(gone);
        drop(first);
        assert_eq!(rooms(&mut lead(second)), ["c"]);
    }

    #[test]
    fn a_lead_that_is_dropped_unused_passes_on() {
        let queue = CommitQueue::new(1);
        let first = lead(enter(&queue, "a"));
        let (never, second) = (enter(&queue, "b"), enter(&queue, "c"));
        drop(first);
        // It was given the lead, and went before it noticed.
        drop(never);
        assert_eq!(rooms(&mut lead(second)), ["c"]);
    }

    #[test]
    fn each_of_several_leaders_writes_its_own_group() {
        let queue = CommitQueue::new(2);
        let (mut first, mut second) = (lead(enter(&queue, "a")), lead(enter(&queue, "b")));
        let third = enter(&queue, "c");
        assert_eq!((rooms(&mut first), rooms(&mut second)), (vec!["a".into(), "c".into()], vec!["b".into()]));
        drop((first, second, third));
        assert_eq!(queue.state.lock().leaders, 0);
    }

    #[test]
    fn a_full_queue_refuses_writes() {
        let queue = CommitQueue::new(1);
        let _first = lead(enter(&queue, "a"));
        let state: Vec<_> = std::iter::from_fn(|| queue.enter(append("b"))).collect();
        assert_eq!(state.len(), MAX_QUEUED_ROOMS);
    }
}
