//! Several instances of a server over one Redis, in every shape of it, with everything that happens to them.

mod chaos;
mod crowd;
mod fleet;
mod resident;
mod rolling;
mod storm;
mod truth;
