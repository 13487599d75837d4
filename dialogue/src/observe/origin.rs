//! The origin of an event: the channel through which it was received, the time, and its span. Metrics and traces follow
//! an event by it from the receipt to the log.

use std::time::Instant;

use tracing::Span;

use super::{
    Meter,
    labels::{Source, TriggerOutcome},
};
use crate::{Refusal, wire::Accepted};

/// The origin of an event.
#[derive(Debug, Clone)]
pub(crate) struct EventOrigin {
    pub(crate) source: Source,
    /// The time of receipt; `None` on a server without metrics.
    pub(crate) received_at: Option<Instant>,
    /// The event's span, which ends when the event is in the log or refused.
    pub(crate) span: Span,
}

impl EventOrigin {
    /// Returns the origin of an event that is received now.
    pub(crate) fn now(meter: &Meter, source: Source, span: Span) -> Self {
        EventOrigin { source, received_at: meter.is_on().then(Instant::now), span }
    }

    /// Returns the origin of an event that another node has received.
    pub(crate) fn other_node() -> Self {
        EventOrigin { source: Source::Node, received_at: None, span: Span::none() }
    }

    /// Records in the span that the event is in the log, or was before.
    pub(crate) fn accepted(&self, accepted: &Accepted) {
        if self.span.is_disabled() {
            return;
        }
        let outcome = if accepted.duplicate { TriggerOutcome::Duplicate } else { TriggerOutcome::Accepted };
        self.span.record("outcome", outcome.label());
        if let Some(seq) = accepted.seq {
            self.span.record("seq", seq);
        }
    }
}

/// Records in a trigger's span that the event was refused.
pub(crate) fn record_refusal(span: &Span, refusal: &Refusal) {
    if !span.is_disabled() {
        span.record("outcome", TriggerOutcome::of(refusal.code).label());
    }
}
