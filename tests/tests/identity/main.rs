//! Who comes, joins, speaks and leaves, over real sockets: what the application is asked and told, and what nobody is.

mod club;
mod endings;
// Not all of it is needed here.
#[allow(dead_code, unused_imports)]
#[path = "../sockets/harness/mod.rs"]
mod harness;
mod hooks;
mod predecessor;
mod presence;
mod storms;
mod tokens;
mod users;
