//! Finding the primary by Redis Sentinel, as its [guidelines for
//! clients](https://redis.io/docs/latest/develop/reference/sentinel-clients/) describe; but all Sentinels are asked at
//! once, and the address in the most replies counts.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use redis::Value;

use super::{connector::Connector, url::ServerAddress};
use crate::{
    command::reply::{list, text},
    error::{RedisError, RedisErrorKind},
};

/// The Sentinels that monitor a primary and its replicas.
pub(crate) struct Sentinels {
    /// The name of the primary in the Sentinels' configuration.
    pub(crate) name: String,
    pub(crate) addresses: Vec<ServerAddress>,
    pub(crate) connector: Connector,
}

/// The timeout for each Sentinel; the replies of the others are enough.
pub(crate) const SENTINEL_TIMEOUT: Duration = Duration::from_secs(1);

impl Sentinels {
    /// Returns the address that the most Sentinels name: one behind a network partition may still name the old primary.
    pub(crate) async fn primary(&self) -> Result<ServerAddress, RedisError> {
        let replies = join_all(self.addresses.iter().map(|address| self.query_primary(address))).await;
        let (mut votes, mut failure) = (HashMap::<ServerAddress, usize>::new(), None);
        for reply in replies {
            match reply {
                Ok(primary) => *votes.entry(primary).or_default() += 1,
                Err(error) => failure = Some(error),
            }
        }
        match votes.into_iter().max_by_key(|(_, votes)| *votes) {
            Some((primary, _)) => Ok(primary),
            None => Err(failure.unwrap_or_else(|| RedisError::configuration("no Sentinel is named"))),
        }
    }

    async fn query_primary(&self, address: &ServerAddress) -> Result<ServerAddress, RedisError> {
        let mut connection = self.connector.connect(address, None).await?;
        connection.server.check_mode(address, "sentinel")?;
        let mut query = redis::cmd("SENTINEL");
        query.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let reply = tokio::select! {
            reply = connection.commands.send_packed_command(&query) => reply,
            () = &mut connection.driver => Ok(Value::Nil),
        };
        match reply {
            Ok(Value::Nil) => Err(RedisError::configuration(format!(
                "the Sentinel at {address} knows no primary `{}`: use the name in its line `sentinel monitor`",
                self.name
            ))),
            Ok(reply) => parse_address(&reply).ok_or_else(|| {
                RedisError::new(
                    RedisErrorKind::Unsupported,
                    format!("the Sentinel at {address} replied {reply:?}"),
                )
            }),
            Err(error) => Err(RedisError::caused(
                RedisErrorKind::Unreachable,
                format!("can't ask the Sentinel at {address} for the address of `{}`: {error}", self.name),
                error,
            )),
        }
    }
}

fn parse_address(reply: &Value) -> Option<ServerAddress> {
    let [host, port] = list(reply)? else { return None };
    Some(ServerAddress { host: text(host)?.to_owned(), port: text(port)?.parse().ok()? })
}
