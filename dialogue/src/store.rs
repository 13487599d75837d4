//! Durable storage of rooms: the trait [`Store`], its types, and the stores that come with the library.
//!
//! Without a store, a room's log is in memory and is lost with the process. The server builder takes a store by
//! [`ServerBuilder::store`](crate::server::ServerBuilder::store), and the journal calls it:
//!
//! | store | feature | for |
//! |---|---|---|
//! | none | | rooms whose history may be lost with the process |
//! | [`Memory`] | | tests, several servers of one process, an example of an implementation |
//! | `Disk` | `disk` | one server: a directory, and nothing to install |
//!
//! For another database, implement [`Store`] and run `dialogue::testing::store_suite!` (feature `testing`) over the
//! implementation.
//!
//! A store keeps two kinds of data. **Logs**: the ordered durable events of one room instance each, appended to at one
//! end and trimmed at the other. **Records**: small values by key, such as the catalog of rooms, rooms' states, push
//! subscriptions and the server's secrets.

pub(crate) use dialogue_core::store::{AnyStore, StoreFuture};
#[doc(inline)]
pub use dialogue_core::store::{
    Append, DecodeError, Head, KeyScope, Memory, Order, Page, Query, Store, StoreError, StoredEvent,
    StoredKey, Trim,
};
#[cfg(feature = "disk")]
#[doc(inline)]
pub use dialogue_disk::{Disk, Durability};
