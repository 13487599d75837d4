//! Subscriptions to channels of [sharded Pub/Sub](https://redis.io/docs/latest/develop/pubsub/#sharded-pubsub).

mod connection;
mod subscriber;

pub(crate) use connection::PubSubEvent;
pub(crate) use subscriber::Subscriber;
