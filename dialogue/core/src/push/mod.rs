//! Providers of push notifications: the trait [`Provider`], and what it sends.

#[doc(hidden)]
pub mod any;
mod payload;
mod provider;

#[doc(hidden)]
pub use any::AnyProvider;
#[doc(hidden)]
pub use payload::topic;
pub use provider::{Provider, PushMessage, PushSubscription, PushTarget, SendOutcome, SubscriptionKeys};
