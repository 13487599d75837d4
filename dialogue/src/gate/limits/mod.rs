//! How often a client may do what it does.
//!
//! Whoever is counted is a [`Subject`]: a user, or an address while anonymous, so that a reconnect resets nothing. What it
//! has left stands in a [`Ledger`], which is bounded, and by the application's choice in a [`Quota`] of all instances too.

mod allowance;
mod clock;
mod doors;
mod ledger;
mod limit;
mod limiter;
mod quota;
mod subject;

pub(crate) use allowance::Allowance;
pub(crate) use doors::{Doors, Visit};
pub(super) use limit::Limit;
pub(crate) use limiter::{Limiter, Rates};
pub use quota::Quota;
pub(crate) use quota::Shared;
pub use subject::Subject;
