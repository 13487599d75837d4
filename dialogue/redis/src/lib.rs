//! [Dialogue](https://docs.rs/dialogue) over Redis and Valkey: [`Redis`] keeps the logs and records of rooms (`Store`),
//! connects the nodes of an application (`Backplane`), and counts rate limits for all of them together (`Quota`).
//!
//! Applications depend on `dialogue` with the feature `redis` or `redis-tls`, which re-exports all of this as
//! `dialogue::redis`.
//!
//! The connections reconnect by themselves, to a single server, to the primary that Sentinels name, or to a Cluster.
//! The protocol is implemented by the crate `redis`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backplane;
mod client;
mod cluster;
mod command;
mod connect;
mod connection;
mod error;
mod key_space;
mod pubsub;
mod quota;
mod store;

pub use client::Redis;
pub use connect::RedisConnect;
pub use error::{RedisError, RedisErrorKind};
