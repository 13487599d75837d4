//! What all instances count together, in Redis.

use std::{sync::LazyLock, time::Duration};

use super::{Quota, Subject};
use crate::{
    Rate,
    redis::{Command, Redis, Script, reply::integer},
};

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take.lua")));

/// What clients have left stands in Redis, under a key for each limit and client that has used some of it, which goes by
/// itself when all is back. One round trip for each event that the instance's own count lets through.
impl Quota for Redis {
    async fn take(&self, limit: &str, rate: Rate, subject: &Subject) -> Result<(), Duration> {
        let key = self.keys().limit(limit, subject);
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let interval = micros(rate.interval());
        let mut take = TAKE.call(&[&key]);
        take.arg(format!("{interval:.3}")).arg(format!("{:.3}", interval * f64::from(rate.max_burst() - 1)));
        let answers = self.write(&TAKE, vec![Command::new(key, take)]).await;
        match answers.into_iter().next().and_then(Result::ok).as_ref().and_then(integer) {
            Some(wait) if wait > 0 => Err(Duration::from_micros(wait.unsigned_abs())),
            // While it can't tell, the instance's own count has to do.
            _ => Ok(()),
        }
    }
}
