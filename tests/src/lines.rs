//! What is logged.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex, Once},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::Visit,
    span,
    subscriber::{DefaultGuard, Interest},
};

/// Keeps the lines that this thread logs, of the levels that are seen by default.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

/// Has each place that logs ask its own thread's listener, every time.
struct Ask;

impl Subscriber for Ask {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, _: &Event<'_>) {}
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Has a place that logs be heard by the listener of its thread alone, whoever logs there first: else one that first
/// logged where nobody listened may stay unheard for other threads.
pub fn hear_every_thread() {
    static ASKED: Once = Once::new();
    ASKED.call_once(|| drop(tracing::subscriber::set_global_default(Ask)));
}

impl Lines {
    /// Begins to keep them, until the guard is dropped. The test's runtime has to be of one thread.
    pub fn keep() -> (Self, DefaultGuard) {
        hear_every_thread();
        let lines = Lines::default();
        let guard = tracing::subscriber::set_default(lines.clone());
        (lines, guard)
    }

    /// All of them so far, each as `LEVEL text`.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("dialogue") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(line.0);
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Visit for Line {
    fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {value:?}");
    }
}
