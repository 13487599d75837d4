//! Several instances of a server over one Redis, in every shape of it, with everything that happens to them.

mod ahead;
mod chaos;
mod crowd;
mod departed;
mod fleet;
// Not all of it is needed here.
#[allow(dead_code, unused_imports)]
#[path = "../sockets/harness/mod.rs"]
mod harness;
mod house;
mod members;
mod resident;
mod rolling;
mod storm;
mod trouble;
mod truth;
