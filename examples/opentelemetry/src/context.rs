//! Joins Dialogue's spans to OpenTelemetry's traces.

use std::collections::HashMap;

use dialogue::observe::{TraceContext, TraceParent};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// See the [module](self).
pub(crate) struct OpenTelemetry;

impl TraceContext for OpenTelemetry {
    fn set_parent(&self, span: &Span, parent: &TraceParent) {
        let carrier = HashMap::from([("traceparent".to_owned(), parent.to_string())]);
        // A span that isn't exported has no parent either.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
    }

    fn traceparent(&self, span: &Span) -> Option<TraceParent> {
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
        carrier.get("traceparent")?.parse().ok()
    }
}
