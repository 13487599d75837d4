//! What pages of foreign origins may read of the answers over HTTP.

use dialogue::server::ServerBuilder;

use crate::harness::{Acme, Result, Running, ask};

const LISTED: &str = "https://acme.example";
const PATHS: [&str; 5] =
    ["/events", "/rooms", "/rooms/chat/history", "/rooms/chat/events/message", "/health"];

fn listing(server: ServerBuilder<Acme>) -> ServerBuilder<Acme> {
    server.allow_origin("http://localhost:5173").allow_origin(LISTED)
}

/// The header called `name`, in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

fn preflight(origin: &str) -> String {
    format!(
        "{origin}Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"
    )
}

fn from(origin: &str) -> String {
    format!("Origin: {origin}\r\n")
}

#[tokio::test]
async fn a_listed_page_is_told_what_it_may_send() -> Result {
    let running = Running::with(listing).await?;
    for path in PATHS {
        let (head, body) = ask(running.address, "OPTIONS", path, &preflight(&from(LISTED))).await?;
        assert!(head.starts_with("HTTP/1.1 204") && body.is_empty(), "{path}: {head}");
        assert_eq!(header(&head, "access-control-allow-origin"), Some(LISTED));
        assert_eq!(header(&head, "access-control-allow-methods"), Some("GET, POST, DELETE"));
        let allowed = header(&head, "access-control-allow-headers").unwrap_or_default();
        for name in [
            "authorization",
            "content-type",
            "idempotency-key",
            "last-event-id",
            "dialogue-from",
            "traceparent",
            "tracestate",
            "baggage",
        ] {
            assert!(allowed.split(", ").any(|own| own == name), "{name}: {allowed}");
        }
        assert_eq!(header(&head, "access-control-max-age"), Some("7200"));
        assert!(header(&head, "vary").is_some_and(|vary| vary.starts_with("origin, access-control-request")));
        assert_eq!(header(&head, "access-control-allow-credentials"), None);
    }
    running.stop().await
}

#[tokio::test]
async fn a_listed_page_reads_answers_and_errors() -> Result {
    let running = Running::with(listing).await?;
    let asked = [
        ("GET", "/rooms", "200"),
        ("GET", "/health", "200"),
        ("GET", "/rooms/chat/history?limit=0", "400"),
        ("GET", "/rooms/none/history", "404"),
        ("GET", "/events?room=none", "404"),
        ("POST", "/rooms/chat/events/message", "400"),
        ("PUT", "/rooms", "405"),
    ];
    for (method, path, status) in asked {
        let (head, _) = ask(running.address, method, path, &from(LISTED)).await?;
        assert_eq!(head.split(' ').nth(1), Some(status), "{method} {path}");
        assert_eq!(header(&head, "access-control-allow-origin"), Some(LISTED), "{method} {path}");
        assert_eq!(
            header(&head, "access-control-expose-headers"),
            Some("retry-after, dialogue-anonymous-token")
        );
        assert_eq!(header(&head, "vary"), Some("origin"));
    }
    // Without an origin there is nothing to allow, but what is kept of the answer isn't for everybody.
    let (head, _) = ask(running.address, "GET", "/rooms", "").await?;
    assert_eq!(header(&head, "access-control-allow-origin"), None);
    assert_eq!(header(&head, "vary"), Some("origin"));
    running.stop().await
}

#[tokio::test]
async fn other_pages_may_read_nothing() -> Result {
    let running = Running::with(listing).await?;
    let twice = from(LISTED) + &from(LISTED);
    let origins = [
        "https://acme.example:8443",
        "http://acme.example",
        "null",
        "nonsense",
        "https://acme.example/",
        "*",
    ];
    for origin in origins.map(from).into_iter().chain([twice]) {
        for path in PATHS {
            let (head, body) = ask(running.address, "OPTIONS", path, &preflight(&origin)).await?;
            assert!(head.starts_with("HTTP/1.1 403") && body.contains("PERMISSION_DENIED"), "{origin}{head}");
            assert!(!head.contains("access-control-allow"), "{origin}{head}");
        }
        for (method, path, status) in [
            ("GET", "/rooms", "200"),
            ("GET", "/events", "403"),
            ("POST", "/rooms/chat/events/message", "403"),
        ] {
            let (head, _) = ask(running.address, method, path, &origin).await?;
            assert_eq!(head.split(' ').nth(1), Some(status), "{origin}{method} {path}");
            assert!(!head.contains("access-control-allow"), "{origin}{head}");
        }
    }
    running.stop().await
}

#[tokio::test]
async fn a_cookie_is_sent_where_one_is_named() -> Result {
    let running = Running::with(|server| listing(server).auth_cookie("session")).await?;
    for (method, asked) in [("OPTIONS", preflight(&from(LISTED))), ("GET", from(LISTED))] {
        let (head, _) = ask(running.address, method, "/rooms", &asked).await?;
        assert_eq!(header(&head, "access-control-allow-credentials"), Some("true"));
        assert_eq!(header(&head, "access-control-allow-origin"), Some(LISTED));
    }
    running.stop().await
}

#[tokio::test]
async fn any_page_may_that_says_where_it_is_from() -> Result {
    let running = Running::with(|server| server.allow_any_origin()).await?;
    let (head, _) = ask(running.address, "GET", "/rooms", &from("https://far.example")).await?;
    assert_eq!(header(&head, "access-control-allow-origin"), Some("https://far.example"));
    let (head, _) = ask(running.address, "OPTIONS", "/rooms", &preflight(&from("null"))).await?;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    running.stop().await
}
