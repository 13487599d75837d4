//! Rate limits that all nodes of an application share: the trait [`Quota`], and the clients that it counts by.

mod key;
mod quota;

pub use key::RateLimitKey;
#[doc(hidden)]
pub use key::network_prefix;
pub use quota::Quota;
