//! The log of refused pages and addresses, by which an operator finds the setting.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use dialogue::PerTime;
use dialogue_tests::hear_every_thread;
use serde_json::json;
use tracing::{Level, Metadata, Subscriber, field::Visit, span, subscriber::DefaultGuard};

use crate::harness::{Result, Running, Socket, ask, connect, is_refused, post};

/// Keeps the warnings, one a line.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Warnings {
    /// Keeps those of this thread, on which a test's server runs too.
    fn keep() -> (Self, DefaultGuard) {
        hear_every_thread();
        let this = Warnings::default();
        (this.clone(), tracing::subscriber::set_default(this))
    }

    fn with(&self, text: &str) -> Vec<String> {
        self.0.lock().unwrap().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("dialogue") && *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut Line(&mut text));
        text.push('\n');
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

const REFUSED: &str = "pages of this origin may not connect";

#[tokio::test]
async fn a_refused_origin_is_logged_once_with_what_mends_it() -> Result {
    let (warnings, _kept) = Warnings::keep();
    let running = Running::start().await?;
    for (headers, remedy) in [
        ("Origin: https://acme.example\r\n", r#"allow_origin(\"https://acme.example\")"#),
        ("Origin: null\r\n", "allow_hidden_origin()"),
        ("Origin: file://\r\n", "allow_hidden_origin()"),
        ("Origin: https://shop.example\r\nX-Forwarded-Host: shop.example\r\n", "behind_proxies(1)"),
        ("Origin: https://a.example\r\nOrigin: https://b.example\r\n", "several"),
    ] {
        for _ in 0..3 {
            let (head, _) = ask(running.address, "GET", "/events?room=chat", headers).await?;
            assert!(head.starts_with("HTTP/1.1 403"), "{head}");
        }
        let all = warnings.with(REFUSED);
        let said: Vec<_> = all.iter().filter(|line| line.contains(remedy)).collect();
        assert!(
            !said.is_empty() && said.iter().all(|line| line.contains(&running.address.to_string())),
            "{all:?}"
        );
    }
    assert_eq!(warnings.with(REFUSED).len(), 5);
    ask(running.address, "GET", "/rooms", "").await?;
    assert_eq!(warnings.with(REFUSED).len(), 5);
    running.stop().await
}

#[tokio::test]
async fn a_proxy_that_nobody_told_of_is_logged_once() -> Result {
    const PROXY: &str = "behind_proxies";
    let (warnings, _kept) = Warnings::keep();
    for (configured, lines) in [(0, 1), (1, 0)] {
        let running = Running::with(|server| server.behind_proxies(configured)).await?;
        ask(running.address, "GET", "/rooms", "").await?;
        assert_eq!(warnings.with(PROXY).len(), 0);
        for header in ["X-Forwarded-For: 203.0.113.7\r\n", "Forwarded: for=203.0.113.7\r\n"] {
            ask(running.address, "GET", "/rooms", header).await?;
            ask(running.address, "GET", "/events?room=none", header).await?;
        }
        assert_eq!(warnings.with(PROXY).len(), lines);
        warnings.0.lock().unwrap().clear();
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_refused_is_logged_and_not_each_time() -> Result {
    let (warnings, _kept) = Warnings::keep();
    let running = Running::with(|server| server.behind_proxies(1).limit_connects(1.per_hour())).await?;
    for _ in 0..4 {
        let header = "X-Forwarded-For: 203.0.113.7\r\n";
        ask(running.address, "GET", "/events?room=none", header).await?;
    }
    let said = warnings.with("an address is refused");
    assert!(
        said.len() == 1 && said[0].contains("203.0.113.7") && said[0].contains("limit_connects"),
        "{said:?}"
    );
    running.stop().await
}

#[tokio::test]
async fn a_client_that_makes_too_many_rooms_is_logged_with_the_bound_and_not_each_time() -> Result {
    const ADDRESS: &str = "203.0.113.7";
    for stored in [false, true] {
        let (warnings, _kept) = Warnings::keep();
        let configure = |server: dialogue::server::ServerBuilder<_>| {
            let server = server.behind_proxies(1).max_new_rooms_per_user(1).max_new_rooms_per_address(2);
            if stored { server.store(dialogue::store::Memory::new()) } else { server }
        };
        let running = Running::with(configure).await?;
        let mut socket =
            Socket::knock(connect(running.address).await?, "/ws", ("x-forwarded-for", ADDRESS)).await?;
        let user = socket.next().await?["userId"].to_string();
        let create = |n: u64| json!({ "type": "createRoom", "id": n, "roomId": format!("project:{n}") });
        assert_eq!(socket.ask(create(1)).await?["type"], "ok");
        for n in 2..6 {
            assert!(is_refused(&socket.ask(create(n)).await?, "TOO_MANY"));
        }
        let said = warnings.with("a user is refused");
        assert!(
            said.len() == 1 && said[0].contains(&user) && said[0].contains("max_new_rooms_per_user"),
            "{said:?}"
        );
        let header = format!("X-Forwarded-For: {ADDRESS}\r\n");
        let mut refused = 0;
        for n in 6..10 {
            let path = format!("/rooms/project:{n}/events/message");
            let (_, answer) = post(running.address, &path, &header, r#"{"text":"hi"}"#).await?;
            refused += usize::from(is_refused(&answer, "TOO_MANY"));
        }
        assert_eq!(refused, 3);
        let said = warnings.with("an address is refused");
        assert!(
            said.len() == 1 && said[0].contains(ADDRESS) && said[0].contains("max_new_rooms_per_address"),
            "{said:?}"
        );
        running.stop().await?;
    }
    Ok(())
}
