//! Connections to one server: made with TLS and the handshake, made again whenever they break, and observed for the
//! server's health.

mod backoff;
mod connector;
mod eviction_check;
mod health;
mod pipeline;
mod reconnecting;
mod sentinel;
mod target;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "without_tls.rs"]
mod tls;
mod url;

pub(crate) use backoff::ReconnectBackoff;
pub(crate) use connector::{Connector, FreshConnection, PushHandler};
pub(crate) use health::ServerHealth;
pub(crate) use pipeline::{CommandPipeline, replace_replies, script_retries, update_health};
pub(crate) use reconnecting::{HEARTBEAT_INTERVAL, ReconnectingConnection, STABLE_AFTER};
pub(crate) use sentinel::{SENTINEL_TIMEOUT, Sentinels};
pub(crate) use target::ServerTarget;
pub(crate) use tls::{Certificates, Tls};
pub(crate) use url::{SENTINEL_PORT, ServerAddress, Url};
