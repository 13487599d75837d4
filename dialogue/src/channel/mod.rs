//! How events reach people. No channel knows another.

mod admission;
mod cors;
mod counted;
mod http;
#[cfg(feature = "inspector")]
mod inspector;
#[cfg(feature = "push")]
mod push;
mod sse;
mod websocket;

pub(crate) use admission::visitor;
pub(crate) use cors::readable;
pub(crate) use counted::counted;
pub(crate) use http::routes as http_routes;
#[cfg(feature = "inspector")]
pub(crate) use inspector::{PATHS as INSPECTOR_PATHS, routes as inspector_routes};
#[cfg(feature = "push")]
pub(crate) use push::routes as push_routes;
pub(crate) use sse::route as sse_route;
pub(crate) use websocket::{echo_route, route as websocket_route};
