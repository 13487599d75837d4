//! Where the server is that a connection is for.

use std::{fmt, sync::Arc};

use super::{
    RedisError,
    dial::{Dialer, Dialled},
    sentinel::Sentinels,
    url::Address,
};

/// Which server a link is to.
#[derive(Clone)]
pub(super) enum Place {
    /// The only one.
    Alone(Address),
    /// A node of a Cluster.
    Node(Address),
    /// The primary that Sentinels name at the time.
    Named(Arc<Sentinels>),
}

impl Place {
    /// Connects to the server that is there now, if it is what it should be.
    pub(super) async fn dial(&self, dialer: &Dialer) -> Result<Dialled, RedisError> {
        match self {
            Place::Node(address) => dial(dialer, address, "cluster").await,
            Place::Alone(address) => primary(dialer, address).await,
            Place::Named(sentinels) => primary(dialer, &sentinels.primary().await?).await,
        }
    }
}

async fn primary(dialer: &Dialer, address: &Address) -> Result<Dialled, RedisError> {
    let dialled = dial(dialer, address, "standalone").await?;
    dialled.server.is_primary(address)?;
    Ok(dialled)
}

async fn dial(dialer: &Dialer, address: &Address, mode: &str) -> Result<Dialled, RedisError> {
    let dialled = dialer.dial(address).await?;
    dialled.server.fits(address, mode)?;
    Ok(dialled)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Alone(address) | Place::Node(address) => address.fmt(f),
            Place::Named(sentinels) => write!(f, "the primary `{}`", sentinels.name),
        }
    }
}
