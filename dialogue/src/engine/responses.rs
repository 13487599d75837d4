//! Long responses that wait for their clients, and how many bytes they are in all.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// See the [module](self).
///
/// A page costs a client one short request, and the server some hundred kilobytes until it is read: clients that ask
/// and don't read could fill the memory before any deadline is over.
#[derive(Debug)]
pub(crate) struct Responses {
    waiting: AtomicUsize,
    most: usize,
}

/// Bytes of a response that waits.
#[derive(Debug)]
#[must_use = "the bytes no longer count when this is dropped"]
pub(crate) struct Held {
    responses: Arc<Responses>,
    bytes: usize,
}

impl Responses {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Responses { waiting: AtomicUsize::new(0), most })
    }

    /// Counts a response, unless too much waits already.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let fits = |waiting: usize| Some(waiting.checked_add(bytes)?).filter(|sum| *sum <= self.most);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Held { responses: Arc::clone(self), bytes })
    }

    /// Returns whether so much waits that clients which take nothing have to make room.
    pub(crate) fn are_many(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > self.most / 2
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.responses.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_wait_and_no_more() {
        let responses = Responses::new(100);
        let first = responses.hold(50);
        assert!(first.is_some() && !responses.are_many());
        let second = responses.hold(50);
        assert!(second.is_some() && responses.are_many());
        assert!(responses.hold(1).is_none() && responses.hold(usize::MAX).is_none());
        drop(first);
        assert!(responses.hold(50).is_some());
        drop(second);
        assert_eq!(responses.waiting.load(Ordering::Relaxed), 0);
    }
}
