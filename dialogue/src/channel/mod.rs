//! How events reach people. No channel knows another.

mod admission;
mod cors;
mod counted;
#[cfg(test)]
mod expiry_tests;
mod held;
mod http;
#[cfg(feature = "inspector")]
mod inspector;
mod newcomer;
#[cfg(feature = "push")]
mod push;
mod sse;
mod websocket;
mod yielding;

pub(crate) use admission::visitor;
pub(crate) use cors::readable;
pub(crate) use counted::counted;
pub(crate) use held::held;
pub(crate) use http::{health_route, routes as http_routes};
#[cfg(feature = "inspector")]
pub(crate) use inspector::{PATHS as INSPECTOR_PATHS, routes as inspector_routes};
pub(crate) use newcomer::named;
#[cfg(feature = "push")]
pub(crate) use push::routes as push_routes;
pub(crate) use sse::route as sse_route;
pub(crate) use websocket::{echo_route, route as websocket_route};
