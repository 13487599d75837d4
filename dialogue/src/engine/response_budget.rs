//! The bound on the memory of long HTTP responses that clients have not read yet.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts the bytes of long responses from the moment they are made until their last byte is handed to HTTP.
///
/// A page of history costs a client one short request, and the server some hundred kilobytes until it is read: clients
/// that request pages and don't read them could fill the memory before any timeout ends their connections.
#[derive(Debug)]
pub(crate) struct ResponseBudget {
    reserved_bytes: AtomicUsize,
    max_bytes: usize,
}

/// The reserved bytes of one response, released on drop.
#[derive(Debug)]
#[must_use = "the bytes are released when this is dropped"]
pub(crate) struct ResponseReservation {
    budget: Arc<ResponseBudget>,
    bytes: usize,
}

impl ResponseBudget {
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(ResponseBudget { reserved_bytes: AtomicUsize::new(0), max_bytes })
    }

    /// Reserves the bytes of a response; `None` if the budget is exhausted.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<ResponseReservation> {
        let fits = |reserved: usize| Some(reserved.checked_add(bytes)?).filter(|sum| *sum <= self.max_bytes);
        self.reserved_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(ResponseReservation { budget: Arc::clone(self), bytes })
    }

    /// Returns whether more than half of the budget is reserved. Clients that read nothing then get a shorter timeout.
    pub(crate) fn is_under_pressure(&self) -> bool {
        self.reserved_bytes.load(Ordering::Relaxed) > self.max_bytes / 2
    }
}

impl Drop for ResponseReservation {
    fn drop(&mut self) {
        self.budget.reserved_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_budget_is_reserved() {
        let budget = ResponseBudget::new(100);
        let first = budget.reserve(50);
        assert!(first.is_some() && !budget.is_under_pressure());
        let second = budget.reserve(50);
        assert!(second.is_some() && budget.is_under_pressure());
        assert!(budget.reserve(1).is_none() && budget.reserve(usize::MAX).is_none());
        drop(first);
        assert!(budget.reserve(50).is_some());
        drop(second);
        assert_eq!(budget.reserved_bytes.load(Ordering::Relaxed), 0);
    }
}
