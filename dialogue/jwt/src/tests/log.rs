//! Tests that the log contains nothing of a token.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::{Event, Metadata, Subscriber, field::Visit, span};

use super::*;

/// Collects log records of all levels.
#[derive(Clone, Default)]
struct LogCollector(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Subscriber for LogCollector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("dialogue")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line(&mut self.0.lock().expect("no other panic")));
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        writeln!(self.0, "{field}: {value:?}").expect("memory");
    }
}

/// An identity that no token of this test can be deserialized as.
#[derive(Debug, Clone, serde::Deserialize)]
struct Numbered {
    #[serde(rename = "sub")]
    _sub: u32,
}

#[tokio::test]
async fn a_token_is_never_logged() {
    let collector = LogCollector::default();
    let logged = tracing::subscriber::set_default(collector.clone());
    let jwt = Jwt::hs256(SECRET).claims::<Numbered>();
    let claims = [
        json!({"sub": "alice", "exp": 1}),
        json!({"sub": "system", "exp": LATER}),
        json!({"sub": "mallory", "exp": LATER}),
    ];
    let mut shown: Vec<String> = claims.iter().map(hs256).collect();
    shown.push("garbage-that-may-be-a-password".to_owned());
    for token in &shown {
        assert_eq!(authenticate(&jwt, token).await.map(drop), Err(AuthError::Rejected));
    }
    drop(logged);

    let log = collector.0.lock().expect("no other panic").clone() + &format!("{jwt:?}");
    assert!(log.contains("it has expired") && log.contains("its `sub` is empty, reserved"), "{log}");
    assert!(log.contains("the claim `sub` of a token does not have the type"), "{log}");
    for part in shown.iter().flat_map(|token| token.split('.')).chain(["alice", "mallory", SECRET]) {
        assert!(!log.contains(part), "{part} in {log}");
    }
}
