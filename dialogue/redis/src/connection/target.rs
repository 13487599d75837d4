//! [`ServerTarget`], the server that a connection is for: a fixed address, or the current primary by Sentinels.

use std::{fmt, sync::Arc};

use super::{
    connector::{Connector, FreshConnection, PushHandler},
    sentinel::Sentinels,
    url::ServerAddress,
};
use crate::error::RedisError;

/// The server that a connection is for.
#[derive(Clone)]
pub(crate) enum ServerTarget {
    /// A single server.
    Standalone(ServerAddress),
    /// A node of a Cluster.
    ClusterNode(ServerAddress),
    /// The primary that Sentinels name at the time of each connection.
    SentinelPrimary(Arc<Sentinels>),
}

impl ServerTarget {
    /// Connects to the server, and checks its version, mode and role.
    pub(crate) async fn connect(
        &self,
        connector: &Connector,
        push_handler: Option<PushHandler>,
    ) -> Result<FreshConnection, RedisError> {
        match self {
            ServerTarget::ClusterNode(address) => {
                connect_checked(connector, address, "cluster", push_handler).await
            }
            ServerTarget::Standalone(address) => connect_to_primary(connector, address, push_handler).await,
            ServerTarget::SentinelPrimary(sentinels) => {
                connect_to_primary(connector, &sentinels.primary().await?, push_handler).await
            }
        }
    }
}

async fn connect_to_primary(
    connector: &Connector,
    address: &ServerAddress,
    push_handler: Option<PushHandler>,
) -> Result<FreshConnection, RedisError> {
    let connection = connect_checked(connector, address, "standalone", push_handler).await?;
    connection.server.check_primary(address)?;
    Ok(connection)
}

async fn connect_checked(
    connector: &Connector,
    address: &ServerAddress,
    mode: &str,
    push_handler: Option<PushHandler>,
) -> Result<FreshConnection, RedisError> {
    let connection = connector.connect(address, push_handler).await?;
    connection.server.check_mode(address, mode)?;
    Ok(connection)
}

impl fmt::Display for ServerTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerTarget::Standalone(address) | ServerTarget::ClusterNode(address) => address.fmt(f),
            ServerTarget::SentinelPrimary(sentinels) => write!(f, "the primary `{}`", sentinels.name),
        }
    }
}
