//! The extension points of [Dialogue](https://docs.rs/dialogue), a library for typed realtime rooms: the traits that a
//! store, a backplane, an authenticator, a quota, an exporter of metrics or a provider of pushes implements, and the
//! types in their signatures.
//!
//! Applications depend on `dialogue`, which re-exports all of this. The parts that come with it, such as the store on
//! disk or the backplane over Redis, are packages that depend on this one alone.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "server")]
pub mod backplane;
#[cfg(feature = "server")]
mod error;
#[cfg(feature = "server")]
pub mod identity;
#[cfg(feature = "server")]
pub mod limits;
#[cfg(feature = "server")]
pub mod metrics;
pub mod notification;
#[cfg(feature = "server")]
pub mod push;
mod rate;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod wire;

#[cfg(feature = "server")]
pub use error::Error;
pub use rate::{PerTime, Rate};
