//! Redis in every shape, with everything that happens to it: what the connection and the store over it make of that.

mod chaos;
mod logging;
mod meeting;
mod outage;
mod server;
mod shapes;
mod sharing;
mod store;
mod suite;
