//! What the server promises, over real sockets and by clients that share no code with it.

mod bad_input;
mod callers;
mod connections;
mod cors;
mod fan_out;
mod harness;
#[cfg(target_os = "linux")]
mod kernel;
mod lists;
mod losses;
mod paths;
mod readable;
mod requests;
mod restart;
mod stored;
mod storms;
mod transport;
mod typed;
