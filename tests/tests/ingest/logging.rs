//! What the shipped logger says of events.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use dialogue::middleware::Logger;
use dialogue_tests::hear_every_thread;
use tracing::{Metadata, Subscriber, field::Visit, span};

use crate::harness::{Message, Result};

/// Keeps what is logged of events.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Subscriber for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "dialogue::events"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Line(&mut self.0.lock().unwrap()));
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

#[dialogue::event]
pub(crate) struct Login {
    name: String,
    password: String,
}

dialogue::rooms! {
    struct House;
    door: [Login, Message] via [websocket] with [async |_, _, _| Err(dialogue::Refusal::blocked("closed"))];
    hall: [Login] via [websocket];
}

#[tokio::test]
async fn what_is_redacted_is_not_logged_and_the_rest_is() -> Result {
    hear_every_thread();
    let kept = Kept::default();
    let logged = tracing::subscriber::set_default(kept.clone());
    let server = House::server().middleware(Logger::new().payloads().redact(["password"])).build().await?;
    let login = || Login { name: "Alice".into(), password: "hunter2".into() };
    server.hall().trigger(login()).await?;
    assert!(server.door().trigger(login()).await.is_err());
    drop(logged);
    let text = kept.0.lock().unwrap().clone();
    for said in
        ["room_id=\"hall\"", "event=\"login\"", "from=\"system\"", "seq=1", "Alice", "closed", "Blocked"]
    {
        assert!(text.contains(said), "{said} isn't in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    Ok(())
}
