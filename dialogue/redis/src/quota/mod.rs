//! The shared quota in Redis.

use std::{sync::LazyLock, time::Duration};

use dialogue_core::{
    Rate,
    limits::{Quota, RateLimitKey},
};

use crate::{
    client::Redis,
    command::{KeyedCommand, Script, reply::integer},
};

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take.lua")));

/// Keeps the state of each limit and client under one key, which expires when the client's full rate is available
/// again. Costs one round trip for each request that the node's own limit allows.
impl Quota for Redis {
    async fn take(&self, limit: &str, rate: Rate, key: &RateLimitKey) -> Result<(), Duration> {
        let key = self.keys().limit(limit, key);
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let interval = micros(rate.interval());
        let mut take = TAKE.call(&[&key]);
        take.arg(format!("{interval:.3}")).arg(format!("{:.3}", interval * f64::from(rate.max_burst() - 1)));
        let answers = self.write(&TAKE, vec![KeyedCommand::new(key, take)]).await;
        match answers.into_iter().next().and_then(Result::ok).as_ref().and_then(integer) {
            Some(wait) if wait > 0 => Err(Duration::from_micros(wait.unsigned_abs())),
            // While Redis is unavailable, only the node's own limit applies.
            _ => Ok(()),
        }
    }
}
