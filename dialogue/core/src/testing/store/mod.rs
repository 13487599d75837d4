//! The test suite for stores: one test for each clause of the contract.

mod append;
#[cfg(test)]
mod broken;
mod events;
mod ids;
mod keys;
mod lasting;
mod model;
mod pages;
mod read;
mod records;
mod remove;
mod tried;
mod trim;

use std::{pin::Pin, sync::Arc, time::Duration};

use tried::Tried;

use crate::store::Store;

/// A clause of the contract, as a test of a store.
pub type Sentence = for<'a> fn(Tried<'a>) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The time that a test may take, on the slowest of machines.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs a test with a store that `open` makes.
pub fn try_store<S: Store>(open: impl AsyncFn() -> S, sentence: Sentence) {
    try_store_at(|| (), async |(): &()| open().await, sentence);
}

/// Runs a test with a store that `open` opens at a place, as often as the test needs it.
pub fn try_store_at<P, S: Store>(place: impl FnOnce() -> P, open: impl AsyncFn(&P) -> S, sentence: Sentence) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the tests of a store need a runtime");
    runtime.block_on(async {
        let place = place();
        let opening = || -> tried::Opening<'_> {
            Box::pin(async { Arc::new(open(&place).await) as Arc<dyn crate::store::AnyStore> })
        };
        let tried = Tried::open(&opening).await;
        let done = tokio::time::timeout(LIMIT, sentence(tried)).await;
        assert!(done.is_ok(), "the store was not done with the test within {LIMIT:?}");
    });
}

/// The tests by the names under which [`store_suite!`](crate::testing::store_suite) lists them.
pub mod named {
    use super::{Pin, Tried};

    crate::store_suite!(@sentences @named);
    crate::store_suite!(@lasting @named);
}

mod all {
    pub(super) use super::{
        append::*, ids::*, keys::*, lasting::*, model::*, pages::*, read::*, records::*, remove::*, trim::*,
    };
}
