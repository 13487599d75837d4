//! What stands between a client and a room, over real sockets: limits, bounds and middleware.

mod bounds;
mod chains;
// Not all of it is needed here.
#[allow(dead_code, unused_imports)]
#[path = "../sockets/harness/mod.rs"]
mod harness;
mod limits;
mod logging;
mod reasons;
mod shared;
mod shipped;
mod tokens;
mod warnings;
