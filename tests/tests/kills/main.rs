//! What outlives the server's process, killed in the middle of bursts.

mod bursts;
// Not all of it is needed here.
#[allow(dead_code, unused_imports)]
#[path = "../sockets/harness/mod.rs"]
mod harness;
mod log;
mod member;
