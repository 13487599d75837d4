//! The channels: HTTP handlers that authenticate requests and connections, and adapt the
//! [`Session`](crate::session::Session) and the [`Engine`](crate::engine::Engine) to WebSocket, Server-Sent Events,
//! plain HTTP, push registration and the inspector. No channel imports another; [`admission`] and the router layers are
//! shared.

mod admission;
mod anonymous_token;
mod cors;
#[cfg(test)]
mod expiry_tests;
mod fallback;
mod http;
#[cfg(feature = "http2")]
pub(crate) mod http2;
#[cfg(not(feature = "http2"))]
#[path = "without_http2.rs"]
pub(crate) mod http2;
#[cfg(feature = "inspector")]
pub(crate) mod inspector;
mod push;
mod refusal_count;
mod response_budget;
mod sse;
pub(crate) mod tcp;
mod websocket;

pub(crate) use admission::visitor;
pub(crate) use anonymous_token::with_anonymous_token;
pub(crate) use cors::with_cors;
pub(crate) use http::{health_route, routes as http_routes};
pub(crate) use push::routes as push_routes;
pub(crate) use refusal_count::count_refusals;
pub(crate) use response_budget::with_response_budget;
pub(crate) use sse::route as sse_route;
pub(crate) use websocket::{echo_route, route as websocket_route};
