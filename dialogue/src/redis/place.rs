//! Where the server is that a connection is for.

use std::{fmt, sync::Arc};

use super::{
    RedisError,
    dial::{Dialer, Dialled, Pushes},
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
    pub(super) async fn dial(&self, dialer: &Dialer, pushes: Option<Pushes>) -> Result<Dialled, RedisError> {
        match self {
            Place::Node(address) => dial(dialer, address, "cluster", pushes).await,
            Place::Alone(address) => primary(dialer, address, pushes).await,
            Place::Named(sentinels) => primary(dialer, &sentinels.primary().await?, pushes).await,
        }
    }
}

async fn primary(dialer: &Dialer, address: &Address, pushes: Option<Pushes>) -> Result<Dialled, RedisError> {
    let dialled = dial(dialer, address, "standalone", pushes).await?;
    dialled.server.is_primary(address)?;
    Ok(dialled)
}

async fn dial(
    dialer: &Dialer,
    address: &Address,
    mode: &str,
    pushes: Option<Pushes>,
) -> Result<Dialled, RedisError> {
    let dialled = dialer.dial(address, pushes).await?;
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
