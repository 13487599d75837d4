//! Where logs are kept: `STORE` is `memory` or `disk:DIR`.

use std::{env, error::Error};

use dialogue::{ServerBuilder, store::Disk};

use crate::Conformance;

/// Gives the server the store that the environment names.
pub(crate) fn from_environment<I: Send + Sync + 'static>(
    server: ServerBuilder<Conformance, I>,
) -> Result<ServerBuilder<Conformance, I>, Box<dyn Error>> {
    let store = env::var("STORE").unwrap_or_else(|_| "memory".to_owned());
    match store.split_once(':') {
        None if store == "memory" => Ok(server),
        Some(("disk", directory)) => Ok(server.store(Disk::open(directory)?)),
        _ => Err("STORE is `memory` or `disk:DIR` in this version".into()),
    }
}
