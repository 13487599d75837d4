//! Where logs are kept: `STORE` is `memory`, `disk:DIR`, `redis:URL` or `redis-cluster:URL,URL…`; with `BACKPLANE`, `local`,
//! one of the last two, or `redis-sentinel:NAME@URL,URL…`, several instances share them, and it is the store as well.

use std::{env, error::Error};

use dialogue::{Redis, server::ServerBuilder, store::Disk};

use crate::Conformance;

/// Gives the server the store that the environment names.
pub(crate) async fn from_environment<I: Send + Sync + 'static>(
    server: ServerBuilder<Conformance, I>,
) -> Result<ServerBuilder<Conformance, I>, Box<dyn Error>> {
    if let Some(backplane) = env::var("BACKPLANE").ok().filter(|backplane| backplane != "local") {
        return match backplane.split_once(':') {
            Some(("redis", url)) => Ok(server.backplane(Redis::connect(url).await?)),
            Some(("redis-cluster", urls)) => Ok(server.backplane(Redis::cluster(urls.split(',')).await?)),
            Some(("redis-sentinel", watched)) => {
                let (name, urls) = watched.split_once('@').ok_or("BACKPLANE is `redis-sentinel:NAME@URL,URL…`")?;
                Ok(server.backplane(Redis::sentinel(urls.split(','), name).await?))
            }
            _ => Err("BACKPLANE is `local`, `redis:URL`, `redis-cluster:URL,URL…` or `redis-sentinel:NAME@URL,URL…`".into()),
        };
    }
    let store = env::var("STORE").unwrap_or_else(|_| "memory".to_owned());
    match store.split_once(':') {
        None if store == "memory" => Ok(server),
        Some(("disk", directory)) => Ok(server.store(Disk::open(directory)?)),
        Some(("redis", url)) => Ok(server.store(Redis::connect(url).await?)),
        Some(("redis-cluster", urls)) => Ok(server.store(Redis::cluster(urls.split(',')).await?)),
        _ => Err("STORE is `memory`, `disk:DIR`, `redis:URL` or `redis-cluster:URL,URL…`".into()),
    }
}
