//! Providers of push notifications for [Dialogue](https://docs.rs/dialogue), a library for typed realtime rooms:
//! [`Fcm`], Firebase Cloud Messaging, and [`Apns`], the Apple Push Notification service.
//!
//! Applications depend on `dialogue` with the feature `push`, which re-exports both as `dialogue::push::{Apns, Fcm}`.
//! The HTTP client in [`http`] is there for `dialogue-webpush`.

mod apns;
mod error;
mod fcm;
pub mod http;
mod jws;

pub use apns::Apns;
pub use error::ProviderError;
pub use fcm::Fcm;
