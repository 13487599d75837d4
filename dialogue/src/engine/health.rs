//! The health of a node, as the health check of load balancers and orchestrators.

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// The health of a server, for an application that answers `/health` itself.
///
/// As an axum response it is the response of `/health`: 200 `{"status":"ok"}`, or 503 `{"status":"…","reason":"…"}`. It
/// serializes to that body, which an application can make part of a larger one.
///
/// ```
/// use axum::{Json, extract::State, http::StatusCode, response::{IntoResponse, Response}};
/// use dialogue::Server;
///
/// /// Reports the health of the database, too.
/// async fn health(State(server): State<Server>) -> Response {
///     let (realtime, database) = (server.health(), true);
///     let up = realtime.is_ok() && database;
///     let status = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
///     (status, Json(serde_json::json!({ "realtime": realtime, "database": database }))).into_response()
/// }
/// # let _: axum::Router<Server> = axum::Router::new().route("/health", axum::routing::get(health));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// The node serves.
    Ok,
    /// The node shuts down and sends its connections to other nodes. A load balancer must send it no new ones.
    Draining,
    /// The store or the backplane can't be reached: events are refused with `UNAVAILABLE`.
    Unavailable,
}

impl Health {
    /// Returns whether the node serves.
    pub const fn is_ok(self) -> bool {
        matches!(self, Health::Ok)
    }

    const fn status(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Draining => "draining",
            Health::Unavailable => "unavailable",
        }
    }

    const fn reason(self) -> Option<&'static str> {
        match self {
            Health::Ok => None,
            Health::Draining => Some("the node is draining"),
            Health::Unavailable => Some("the store accepts no events"),
        }
    }
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let reason = self.reason();
        let mut body = serializer.serialize_struct("Health", 1 + usize::from(reason.is_some()))?;
        body.serialize_field("status", self.status())?;
        if let Some(reason) = reason {
            body.serialize_field("reason", reason)?;
        }
        body.end()
    }
}
