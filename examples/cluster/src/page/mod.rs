//! The chat's page, and what shows the instances in it.

use axum::http::header::CONTENT_TYPE;
use axum::{Router, routing::get};

const PAGE: &str = include_str!("../../../chat/src/page/index.html");
/// What stands in the page's head beside the chat's own.
const HEAD: &str = "<link rel=\"stylesheet\" href=\"cluster.css\" /><script type=\"module\" src=\"cluster.js\"></script></head>";

const FILES: [(&str, &str, &str); 8] = [
    ("/page.css", "text/css", include_str!("../../../browser/page.css")),
    ("/chat.css", "text/css", include_str!("../../../chat/src/page/chat.css")),
    ("/chat.js", "text/javascript", include_str!("../../../chat/src/page/chat.js")),
    ("/messages.js", "text/javascript", include_str!("../../../chat/src/page/messages.js")),
    ("/cluster.css", "text/css", include_str!("cluster.css")),
    ("/cluster.js", "text/javascript", include_str!("cluster.js")),
    ("/dialogue.js", "text/javascript", include_str!("../../../browser/dialogue.js")),
    ("/links.js", "text/javascript", include_str!("../../../browser/links.js")),
];

/// Serves the page at `/`.
pub(crate) fn routes() -> Router {
    let page = get(([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE.replace("</head>", HEAD)));
    FILES.into_iter().fold(Router::new().route("/", page), |router, (path, kind, text)| {
        router.route(path, get(([(CONTENT_TYPE, format!("{kind}; charset=utf-8"))], text)))
    })
}
