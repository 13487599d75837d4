//! Rate limits: [`Rate`], and the trait [`Quota`] of counters that all nodes of an application share.

mod key;
mod quota;
mod rate;

pub use key::RateLimitKey;
#[doc(hidden)]
pub use key::network_prefix;
pub use quota::Quota;
pub use rate::{PerTime, Rate};
