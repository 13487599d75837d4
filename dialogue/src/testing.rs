//! Test suites for parts that an application implements itself (feature `testing`).
//!
//! [`store_suite!`](crate::testing::store_suite) tests a [`Store`](crate::store::Store) by every clause of its
//! contract.

#[doc(inline)]
pub use dialogue_core::store_suite;
