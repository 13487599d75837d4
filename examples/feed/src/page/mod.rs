//! The page, from within the binary.

use axum::http::header::CONTENT_TYPE;
use axum::{Router, routing::get};

const FILES: [(&str, &str, &str); 6] = [
    ("/", "text/html", include_str!("index.html")),
    ("/page.css", "text/css", include_str!("../../../browser/page.css")),
    ("/feed.css", "text/css", include_str!("feed.css")),
    ("/feed.js", "text/javascript", include_str!("feed.js")),
    ("/dialogue.js", "text/javascript", include_str!("../../../browser/dialogue.js")),
    ("/links.js", "text/javascript", include_str!("../../../browser/links.js")),
];

/// Serves the page at `/`.
pub(crate) fn routes() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(([(CONTENT_TYPE, format!("{kind}; charset=utf-8"))], text)))
    })
}
