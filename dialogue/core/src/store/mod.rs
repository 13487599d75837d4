//! Durable storage of rooms: the trait [`Store`], its types, and [`Memory`].
//!
//! A store keeps two kinds of data. **Logs**: the ordered durable events of one room instance each, appended to at one
//! end and trimmed at the other. **Records**: small values by key, such as the catalog of rooms, rooms' states, push
//! subscriptions and the server's secrets.

#[doc(hidden)]
pub mod any;
mod codec;
mod error;
mod event;
mod memory;
mod query;
mod scope;

use bytes::Bytes;

#[doc(hidden)]
pub use any::{AnyStore, StoreFuture};
pub use codec::DecodeError;
pub use error::StoreError;
pub use event::StoredEvent;
pub use memory::Memory;
pub use query::{Append, Head, Order, Page, Query, StoredKey, Trim};
pub use scope::KeyScope;

/// Durable storage of the logs and records of rooms.
///
/// A server has a single writer for each room instance, and numbers the events before it appends them. A store
/// therefore orders nothing: it keeps what it is given, and refuses an append that doesn't continue the log that it has
/// (optimistic concurrency control).
///
/// Every method may fail. The server then answers the client's request with `UNAVAILABLE`, reports it on `/health`, and
/// retries until the store works. A call that takes longer than 5 s is dropped and counts as failed. After a failed
/// [`append`](Store::append) the server reads the [`head`](Store::head) before it appends to that log again, so a
/// failed append may have been executed or not.
///
/// `examples/custom_store` is a store over SQLite.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a store",
    label = "can't keep logs",
    note = "implement `dialogue::store::Store` for `{Self}`"
)]
pub trait Store: Send + Sync + 'static {
    /// Appends events to the logs of some rooms, each room at most once in a call. Returns once the events are as
    /// durable as this store makes them; the server acknowledges them to clients then.
    ///
    /// The events of one room have consecutive numbers, and the first number is that of the log's newest event plus
    /// one, or 1 in an empty log. The append to one room is atomic, or at least keeps a prefix of the events. Appends
    /// to several rooms need not be atomic together.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::conflict`] for rooms whose log has another epoch, or whose newest event isn't the one
    /// before the first of these (the log holds one of the numbers already, or a number would be missing). Those logs
    /// stay unchanged. An error of any kind may be [limited to some rooms](StoreError::for_rooms); the events of the
    /// other rooms are then appended.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may still be executed later, with the same checks: if the log has grown in the meantime,
    /// it is a conflict and changes nothing.
    fn append(&self, appends: Vec<Append>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the epoch, the first number and the newest event of a room's log; `None` if nothing was ever appended to
    /// it, or it has been removed.
    ///
    /// # Errors
    ///
    /// The log can't be read now.
    fn head(&self, room_id: &str) -> impl Future<Output = Result<Option<Head>, StoreError>> + Send;

    /// Returns one page of a room's events, in the order and within the bounds of `query`. The cost must not depend on
    /// the length of the log.
    ///
    /// A page may hold fewer events than exist, even none, if [`Page::next`] says where the next page begins.
    ///
    /// # Errors
    ///
    /// The events can't be read now.
    fn read(&self, room_id: &str, query: Query) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Returns the idempotency keys of the events that were appended to a room at or after the time `since` (Unix
    /// milliseconds), oldest first, the keys of trimmed events included. Of more than 10,000 keys it returns the newest
    /// 10,000. A key that a user has used repeatedly, which the server decides, may be returned once or once per use,
    /// with the newest event last.
    ///
    /// # Errors
    ///
    /// The keys can't be read now.
    fn keys(
        &self,
        room_id: &str,
        since: u64,
    ) -> impl Future<Output = Result<Vec<StoredKey>, StoreError>> + Send;

    /// Deletes the oldest events and the oldest keys of a room, if its log has the epoch of `trim`, but never the
    /// newest event. It applies to the events and keys that exist at the time of the call: those appended later stay,
    /// even keys with an earlier time.
    ///
    /// # Errors
    ///
    /// The log can't be trimmed now; the server tries again later.
    fn trim(&self, room_id: &str, trim: Trim) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes a room's log and its keys. The next append begins at number 1, in another epoch.
    ///
    /// # Errors
    ///
    /// The log can't be removed now, and still exists.
    fn remove(&self, room_id: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes records, and deletes those whose value is `None`. Each record is written atomically; several records
    /// together need not be. Returns once they are as durable as appended events.
    ///
    /// Keys are text of at most 512 bytes, values have at most 64 KiB.
    ///
    /// # Errors
    ///
    /// Some of the records can't be written now.
    fn put(
        &self,
        records: Vec<(String, Option<Bytes>)>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the value of a record, or `None` if it doesn't exist.
    ///
    /// # Errors
    ///
    /// The record can't be read now.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// Returns at most `limit` records whose keys begin with `prefix`, ordered by the bytes of their keys; with
    /// `after`, only those whose keys are greater than it. A prefix ends with `/`.
    ///
    /// # Errors
    ///
    /// The records can't be read now.
    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(String, Bytes)>, StoreError>> + Send;

    /// Returns the maximum number of [`append`](Store::append) calls that a server keeps in flight at once; 1 by
    /// default. Events that arrive while all of them are in flight go together into the next call (group commit). A
    /// larger number suits a store with a high latency. A room is never in two calls at once.
    fn max_concurrent_appends(&self) -> usize {
        1
    }
}
