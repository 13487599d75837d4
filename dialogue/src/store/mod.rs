//! Where logs and rooms outlive the process.
//!
//! A room's log lives in memory, and is lost with it, unless the server is given a [`Store`]:
//!
//! | store | feature | for |
//! |---|---|---|
//! | none | | rooms whose past may go with the process |
//! | [`Memory`] | | tests; several servers of one process; how a store is written |
//! | `Disk` | `disk` | one server: a directory, and nothing to install |
//!
//! Or one of your own: implement [`Store`] for your database, and have `dialogue::testing::store_suite!` (feature
//! `testing`) try it.
//!
//! What a store keeps is of two kinds: **logs**, one for each room instance, appended to and trimmed at the other end;
//! and **records**, small values by key, which hold what is known of rooms, their state, devices that asked for pushes,
//! and the server's own few secrets.

mod any;
mod codec;
#[cfg(feature = "disk")]
mod disk;
mod error;
mod event;
mod memory;
mod query;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod scope;

use bytes::Bytes;

pub(crate) use any::{Answer, AnyStore};
pub use codec::NotStored;
#[cfg(feature = "disk")]
pub use disk::{Disk, Durability};
pub use error::StoreError;
pub use event::StoredEvent;
pub use memory::Memory;
pub use query::{Append, Head, Order, Page, Query, StoredKey, Trim};
pub use scope::KeyScope;
pub(crate) use scope::scoped;

/// Where logs and rooms outlive the process.
///
/// A server has one writer for each room instance, and the numbers of events are given before they come here. So a store
/// orders nothing; it keeps what it is given, and refuses what would change what it has.
///
/// Every method may fail: what a client asked for is then answered `UNAVAILABLE`, `/health` says so, and the server tries
/// again until the store answers. A call that takes longer than the server is ready to wait (5 s) is dropped and counts
/// as failed. After a failed [`append`](Store::append) the server asks for the [`head`](Store::head) before it goes on,
/// so that an append that failed may have been done or not.
///
/// `examples/custom_store` is one for SQLite.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a store",
    label = "can't keep logs",
    note = "implement `dialogue::store::Store` for `{Self}`"
)]
pub trait Store: Send + Sync + 'static {
    /// Appends events to the logs of some rooms; each room at most once in a call. Returns when they are as safe as this
    /// store makes them: the `ok`s are sent then.
    ///
    /// The events of a room follow each other without a hole, and the first follows the room's newest event; in a log
    /// that is empty, it is number 1. Of one room, all are kept or none, or at least none without those before it.
    ///
    /// # Errors
    ///
    /// [`StoreError::conflict`] for rooms whose newest event isn't the one before these (they hold one of these numbers
    /// already, or there would be a hole), or whose log is of another epoch; they keep what they have. Any error may be
    /// [of some rooms only](StoreError::only); the others' events are kept then.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may be done later still, but then like any other: it is refused if the log went on without
    /// it.
    fn append(&self, appends: Vec<Append>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Where a room's log begins and ends; `None` if nothing was ever appended to it, or it was removed since.
    ///
    /// # Errors
    ///
    /// It can't be told now.
    fn head(&self, room_id: &str) -> impl Future<Output = Result<Option<Head>, StoreError>> + Send;

    /// Some of a room's events, in the order and within the bounds that `query` gives. What it costs doesn't depend on
    /// the length of the log.
    ///
    /// A page may hold fewer events than there are, even none, if [`Page::next`] says where to go on.
    ///
    /// # Errors
    ///
    /// They can't be read now.
    fn read(&self, room_id: &str, query: Query) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// The keys under which events of a room were appended since a time (Unix milliseconds), oldest first; of very many
    /// the newest 10,000. Those of trimmed events too. A key that a user used again, which is the server's to allow, may
    /// come once or as often as it was used, the newest event last.
    ///
    /// # Errors
    ///
    /// They can't be read now.
    fn keys(
        &self,
        room_id: &str,
        since: u64,
    ) -> impl Future<Output = Result<Vec<StoredKey>, StoreError>> + Send;

    /// Drops a room's oldest events, and its oldest keys, if its log is still the one that `trim` names. The newest event
    /// is never among them. It is about what is there now: what is appended later stays, keys of an earlier time too.
    ///
    /// # Errors
    ///
    /// It can't be done now; it is tried again later.
    fn trim(&self, room_id: &str, trim: Trim) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes a room's log and its keys. What is appended later begins with number 1 again, in another epoch.
    ///
    /// # Errors
    ///
    /// It can't be done now; the log is there still.
    fn remove(&self, room_id: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes records, and removes those whose value is `None`. Each is written whole or not at all; several together
    /// need not be. As safe as events are.
    ///
    /// Keys are text of up to 512 bytes, values are of up to 64 KiB.
    ///
    /// # Errors
    ///
    /// Some of it can't be done now.
    fn put(
        &self,
        records: Vec<(String, Option<Bytes>)>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// One record.
    ///
    /// # Errors
    ///
    /// It can't be read now.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// Up to `limit` records whose keys begin with `prefix`, in the order of the keys' bytes, from the one after `after`.
    /// A prefix ends with `/`.
    ///
    /// # Errors
    ///
    /// They can't be read now.
    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(String, Bytes)>, StoreError>> + Send;

    /// How many [`append`](Store::append)s a server may have under way at once: 1 unless said, and then what comes meanwhile
    /// goes together in the next (group commit). More are for stores far away. No room is in two at once.
    fn concurrency(&self) -> usize {
        1
    }
}
