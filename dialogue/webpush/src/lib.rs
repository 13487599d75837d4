//! The provider of push notifications to browsers for [Dialogue](https://docs.rs/dialogue), a library for typed realtime
//! rooms: [`Vapid`], by the Web Push protocol.
//!
//! Applications depend on `dialogue` with the feature `webpush`, which re-exports it as `dialogue::push::Vapid`. The
//! crate `web-push`, which encrypts what browsers get, links OpenSSL.

mod endpoint;
mod error;
mod vapid;

pub use error::VapidError;
pub use vapid::Vapid;
