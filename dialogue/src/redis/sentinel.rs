//! Who is the primary, by the word of Sentinels.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use redis::Value;

use super::{
    RedisError, RedisErrorKind,
    dial::Dialer,
    reply::{list, text},
    url::Address,
};

/// The Sentinels that watch over a primary and its replicas.
pub(super) struct Sentinels {
    /// What they call the primary.
    pub(super) name: String,
    pub(super) addresses: Vec<Address>,
    pub(super) dialer: Dialer,
}

/// How long each of them may take: those that answer say enough.
pub(super) const WITHIN: Duration = Duration::from_secs(1);

impl Sentinels {
    /// The address that most of them name: one that was cut off may still name an old one.
    pub(super) async fn primary(&self) -> Result<Address, RedisError> {
        let answers = join_all(self.addresses.iter().map(|address| self.ask(address))).await;
        let (mut votes, mut failure) = (HashMap::<Address, usize>::new(), None);
        for answer in answers {
            match answer {
                Ok(primary) => *votes.entry(primary).or_default() += 1,
                Err(error) => failure = Some(error),
            }
        }
        match votes.into_iter().max_by_key(|(_, votes)| *votes) {
            Some((primary, _)) => Ok(primary),
            None => Err(failure.unwrap_or_else(|| RedisError::configuration("no Sentinel is named"))),
        }
    }

    async fn ask(&self, address: &Address) -> Result<Address, RedisError> {
        let mut dialled = self.dialer.dial(address, None).await?;
        dialled.server.fits(address, "sentinel")?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let answer = tokio::select! {
            answer = dialled.commands.send_packed_command(&question) => answer,
            () = &mut dialled.driver => Ok(Value::Nil),
        };
        match answer {
            Ok(Value::Nil) => Err(RedisError::configuration(format!(
                "the Sentinel at {address} knows no primary `{}`: it is the name in its line `sentinel monitor`",
                self.name
            ))),
            Ok(answer) => read(&answer).ok_or_else(|| {
                RedisError::new(
                    RedisErrorKind::Unfit,
                    format!("the Sentinel at {address} answered {answer:?}"),
                )
            }),
            Err(error) => Err(RedisError::caused(
                RedisErrorKind::Unreachable,
                format!("the Sentinel at {address} did not say where `{}` is: {error}", self.name),
                error,
            )),
        }
    }
}

fn read(answer: &Value) -> Option<Address> {
    let [host, port] = list(answer)? else { return None };
    Some(Address { host: text(host)?.to_owned(), port: text(port)?.parse().ok()? })
}
