//! What the server promises, over real sockets and by clients that share no code with it.

mod bad_input;
mod callers;
mod cors;
mod fan_out;
mod harness;
mod losses;
mod paths;
mod restart;
mod stored;
mod storms;
mod transport;
mod typed;
