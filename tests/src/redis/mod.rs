//! Redis in every shape, and what is put into it.

mod certificates;
mod cluster;
mod events;
mod sentinel;
mod server;

pub use certificates::Certificates;
pub use cluster::RedisCluster;
pub use events::{EPOCH, appends, event, seqs};
pub use sentinel::Watched;
pub use server::RedisServer;
