//! The chat as three instances behind a load balancer, over one Redis: `cargo run -p cluster`, then open a few windows,
//! and kill an instance. Each window shows which one it is on.
//!
//! Needs Redis 7 or newer: `apt install redis-server` on Debian, `brew install redis` on macOS.
//!
//! Redis is at `REDIS_URL`, or a `redis-server` that this starts and ends. Anything that spreads TCP connections will do as
//! load balancer, such as nginx with `proxy_pass` and the `Upgrade` headers: no client has to come back to where it was.

mod balancer;
mod family;
mod instance;
mod page;
mod redis;

use std::{env, error::Error};

use dialogue::Server;

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const INSTANCES: u16 = 3;

#[tokio::main]
async fn main() -> Result {
    // Each instance is this program once more.
    match env::var("INSTANCE") {
        Ok(number) => instance::serve(number.parse()?, &env::var("REDIS_URL")?).await,
        Err(_) => lead().await,
    }
}

/// Starts everything, and keeps it until Ctrl-C or SIGTERM.
async fn lead() -> Result {
    let redis = redis::Redis::from_environment().await?;
    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = Server::bind(address).await?;
    let (family, addresses) = family::start(INSTANCES, redis.url()).await?;
    println!("listening on http://{}", listener.local_addr()?);
    tokio::select! {
        () = balancer::serve(listener, addresses) => {}
        () = family.until_told_to_go() => {}
    }
    family.end().await;
    redis.end().await;
    Ok(())
}
