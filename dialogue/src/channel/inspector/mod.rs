//! The inspector: a web page for operators that shows the rooms, connections and metrics of a node. Its data needs a
//! server key.
//!
//! ```text
//! GET /dialogue                    the static page, which asks for the key
//! GET /dialogue/inspect?room=ID    the data of the page as JSON; `room` adds the members of that room
//! GET /dialogue/tail/ID            a room's events from now on, as an event stream
//! ```

mod inspect;
mod largest;
mod tail;

use std::sync::Arc;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{
    HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    request::Parts,
};

use super::admission::{admit_request, check_origin, token_required};
use crate::{Refusal, engine::Engine, identity::Principal};

/// The path of the page.
const PATH: &str = "/dialogue";
/// The path of the data.
const INSPECT: &str = "/dialogue/inspect";
/// The paths that the application's other endpoints can't have.
pub(crate) const PATHS: [&str; 4] = [PATH, "/dialogue/inspector.css", "/dialogue/inspector.js", INSPECT];

const FILES: [(&str, &str, &str); 3] = [
    (PATH, "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/dialogue/inspector.css", "text/css; charset=utf-8", include_str!("page/inspector.css")),
    ("/dialogue/inspector.js", "text/javascript; charset=utf-8", include_str!("page/inspector.js")),
];
/// The Content Security Policy: no resource of another origin, no inline script, and no embedding in a frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

pub(crate) fn routes() -> Router<Arc<Engine>> {
    let files = FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(move || std::future::ready(file(kind, text))))
    });
    files.route(INSPECT, get(inspect::inspect)).route("/dialogue/tail/{room_id}", get(tail::tail))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 4] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (HEADERS, [(CONTENT_TYPE, kind)], text).into_response()
}

/// Refuses requests without a server key.
async fn require_server_key(engine: &Engine, parts: &Parts) -> Result<(), Refusal> {
    check_origin(engine, &parts.headers, &parts.uri)?;
    match admit_request(engine, parts).await? {
        (Principal::Backend, _) => Ok(()),
        (Principal::User(_), _) => Err(token_required()),
    }
}

#[cfg(test)]
mod tests {
    use crate::observe::{MetricsSource, ServerMetrics};

    #[test]
    fn the_inspector_asks_for_existing_families() {
        let page = include_str!("page/inspector.js");
        let calls = ["all(\"", "sum(\"", "spread(\"", "rate(\""]
            .into_iter()
            .flat_map(|call| page.split(call).skip(1));
        let names: Vec<_> = calls.filter_map(|rest| rest.split('"').next()).collect();
        assert!(names.len() > 5, "{names:?}");
        let families = ServerMetrics::default().read();
        for name in names {
            let name = format!("dialogue_{name}");
            assert!(families.iter().any(|family| family.descriptor.name == name), "{name}");
        }
    }
}
