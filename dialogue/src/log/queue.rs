//! Who waits for the store, and who of them writes for all.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    backplane::{Publication, Published},
    store::{Append, StoreError},
};

/// What a room writes.
pub(super) trait Write: Sized {
    /// What it comes to.
    type Done;

    /// Bytes of its payloads.
    fn bytes(&self) -> usize;
}

/// Writes that wait.
///
/// Up to a number of rooms lead: each writes a group of what waits, and hands the lead to whoever has waited longest. So
/// there always is somebody at it while something waits. After a group of several, the next leader lets these come back
/// first.
pub(super) struct Queue<W: Write> {
    waiting: Mutex<Waiting<W>>,
    most: usize,
}

struct Waiting<W: Write> {
    commits: VecDeque<Commit<W>>,
    bytes: usize,
    leaders: usize,
    /// How many were in the last group of the lead that ended last.
    last: usize,
}

struct Commit<W: Write> {
    write: W,
    bytes: usize,
    told: oneshot::Sender<Told<W>>,
}

/// What somebody who waits is told.
pub(super) enum Told<W: Write> {
    /// What became of theirs.
    Done(Result<W::Done, StoreError>),
    /// To write for all who wait, themselves first.
    Lead(Lead<W>),
}

/// How a room came in.
pub(super) enum Entered<W: Write> {
    Leads(Lead<W>),
    Waits(oneshot::Receiver<Told<W>>),
}

/// The lead, which goes to the next when it is dropped: also if whoever was given it is gone.
pub(super) struct Lead<W: Write> {
    queue: Arc<Queue<W>>,
    /// What the leader wants to write, until it is in a group.
    own: Option<W>,
    /// How many were in the last group.
    last: usize,
}

/// Bytes of payloads that may wait; more, and they are refused.
const WAITING_BYTES: usize = 64 << 20;
/// Rooms that may wait likewise.
const WAITING_ROOMS: usize = 16 << 10;
/// Turns of others that a leader waits for, while fewer have come than to the last group.
const GATHERING: usize = 8;
/// Bytes of payloads in one group: past that it is closed.
const GROUP_BYTES: usize = 4 << 20;

impl Write for Append {
    type Done = ();

    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.data.len()).sum()
    }
}

impl Write for Publication {
    type Done = Published;

    fn bytes(&self) -> usize {
        self.drafts.iter().map(|draft| draft.event.data.len()).sum()
    }
}

impl<W: Write> Queue<W> {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Queue {
            waiting: Mutex::new(Waiting { commits: VecDeque::new(), bytes: 0, leaders: 0, last: 0 }),
            most: most.max(1),
        })
    }

    /// Comes in; `None` if too much waits.
    pub(super) fn enter(self: &Arc<Self>, write: W) -> Option<Entered<W>> {
        let bytes = write.bytes();
        let mut waiting = self.waiting.lock();
        if waiting.bytes >= WAITING_BYTES || waiting.commits.len() >= WAITING_ROOMS {
            return None;
        }
        if waiting.leaders < self.most {
            waiting.leaders += 1;
            let (queue, last) = (Arc::clone(self), waiting.last);
            return Some(Entered::Leads(Lead { queue, own: Some(write), last }));
        }
        waiting.bytes += bytes;
        let (told, telling) = oneshot::channel();
        waiting.commits.push_back(Commit { write, bytes, told });
        Some(Entered::Waits(telling))
    }

    /// How many bytes of payloads wait, and rooms.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let waiting = self.waiting.lock();
        (waiting.bytes, waiting.commits.len())
    }

    /// Gives the lead, with the number of its last group, to the next who still waits; ends it if there is nobody.
    fn pass(self: &Arc<Self>, last: usize) {
        let next = {
            let mut waiting = self.waiting.lock();
            let next = waiting.next();
            if next.is_none() {
                waiting.leaders -= 1;
                waiting.last = last;
            }
            next
        };
        if let Some(Commit { write, told, .. }) = next {
            // If they went just now, the lead is dropped with what they were told, and goes on.
            let _ = told.send(Told::Lead(Lead { queue: Arc::clone(self), own: Some(write), last }));
        }
    }
}

impl<W: Write> Waiting<W> {
    /// Takes the next of those who still wait: who gave up was told that it failed.
    fn next(&mut self) -> Option<Commit<W>> {
        while let Some(commit) = self.commits.pop_front() {
            self.bytes -= commit.bytes;
            if !commit.told.is_closed() {
                return Some(commit);
            }
        }
        None
    }
}

impl<W: Write> Lead<W> {
    /// Lets those of the last group come back: they were told just now, and may have more to write. Without that, the first
    /// of them would write alone, and the others wait for it.
    pub(super) async fn gather(&self) {
        for _ in 0..GATHERING {
            if 1 + self.queue.waiting.lock().commits.len() >= self.last {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes the next group: the leader's own, and those of others with who is to be told of each.
    pub(super) fn group(&mut self) -> (Vec<W>, Vec<oneshot::Sender<Told<W>>>) {
        let mut writes: Vec<_> = self.own.take().into_iter().collect();
        let mut waiting = self.queue.waiting.lock();
        let (mut bytes, mut told) = (0, Vec::new());
        while bytes < GROUP_BYTES {
            let Some(commit) = waiting.next() else { break };
            bytes += commit.bytes;
            writes.push(commit.write);
            told.push(commit.told);
        }
        self.last = writes.len();
        (writes, told)
    }
}

impl<W: Write> Drop for Lead<W> {
    fn drop(&mut self) {
        self.queue.pass(self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(room_id: &str) -> Append {
        Append::new(room_id.into(), "e".into(), Vec::new())
    }

    fn enter(queue: &Arc<Queue<Append>>, room_id: &str) -> Entered<Append> {
        queue.enter(append(room_id)).expect("there is room")
    }

    fn rooms(lead: &mut Lead<Append>) -> Vec<String> {
        lead.group().0.iter().map(|append| append.room_id.to_string()).collect()
    }

    fn lead(entered: Entered<Append>) -> Lead<Append> {
        match entered {
            Entered::Leads(lead) => lead,
            Entered::Waits(mut told) => match told.try_recv() {
                Ok(Told::Lead(lead)) => lead,
                _ => panic!("it waits"),
            },
        }
    }

    #[test]
    fn who_comes_meanwhile_is_in_the_next_group() {
        let queue = Queue::new(1);
        let mut first = lead(enter(&queue, "a"));
        let (second, _third) = (enter(&queue, "b"), enter(&queue, "c"));
        assert_eq!(rooms(&mut first), ["a", "b", "c"]);
        drop((second, first));
        assert_eq!(rooms(&mut lead(enter(&queue, "d"))), ["d"]);
    }

    #[test]
    fn the_lead_goes_on_past_those_who_are_gone() {
        let queue = Queue::new(1);
        let mut first = lead(enter(&queue, "a"));
        assert_eq!(rooms(&mut first), ["a"]);
        let (gone, second) = (enter(&queue, "b"), enter(&queue, "c"));
        drop(gone);
        drop(first);
        assert_eq!(rooms(&mut lead(second)), ["c"]);
    }

    #[test]
    fn a_lead_that_nobody_took_up_goes_on() {
        let queue = Queue::new(1);
        let first = lead(enter(&queue, "a"));
        let (never, second) = (enter(&queue, "b"), enter(&queue, "c"));
        drop(first);
        // It was told to lead, and is gone before it looked.
        drop(never);
        assert_eq!(rooms(&mut lead(second)), ["c"]);
    }

    #[test]
    fn each_of_several_leaders_has_its_own() {
        let queue = Queue::new(2);
        let (mut first, mut second) = (lead(enter(&queue, "a")), lead(enter(&queue, "b")));
        let third = enter(&queue, "c");
        assert_eq!((rooms(&mut first), rooms(&mut second)), (vec!["a".into(), "c".into()], vec!["b".into()]));
        drop((first, second, third));
        assert_eq!(queue.waiting.lock().leaders, 0);
    }

    #[test]
    fn too_much_is_refused() {
        let queue = Queue::new(1);
        let _first = lead(enter(&queue, "a"));
        let waiting: Vec<_> = std::iter::from_fn(|| queue.enter(append("b"))).collect();
        assert_eq!(waiting.len(), WAITING_ROOMS);
    }
}
