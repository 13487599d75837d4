//! Rate limits and connection bounds.
//!
//! A rate limit counts by a [`RateLimitKey`]: a user, or an address for anonymous users, so that reconnecting resets
//! nothing. Rates are enforced with the generic cell rate algorithm (GCRA, ITU-T I.371; the crate `governor`), whose
//! state is kept in a bounded store on each node and, if the application sets a [`Quota`], also in one store of all
//! nodes.

mod clock;
mod connection_limiter;
mod frame_limiter;
mod keyed_limiter;
mod limiter;
mod quota;
mod state_store;

pub(crate) use connection_limiter::{ConnectionLimiter, ConnectionPermit};
pub(crate) use frame_limiter::FrameLimiter;
pub(crate) use keyed_limiter::KeyedLimiter;
pub(crate) use limiter::{Limiter, RateLimits};
pub(crate) use quota::SharedQuota;

pub(crate) use dialogue_core::limits::network_prefix;
#[doc(inline)]
pub use dialogue_core::{
    PerTime, Rate,
    limits::{Quota, RateLimitKey},
};
