//! What is measured and traced.

use super::ServerBuilder;
use crate::{
    observe::{MetricsExporter, TraceContext, Traces},
    server::application::Application,
};

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Sends metrics to `exporter`: [Prometheus](crate::observe), StatsD or an exporter of the application's own.
    /// Each further call adds one. Without any, nothing is measured.
    pub fn metrics(mut self, exporter: impl MetricsExporter) -> Self {
        self.settings.observation.exporters.push(Box::new(exporter));
        self
    }

    /// Joins the server's spans to traces that clients, proxies and other nodes began. Events then carry their trace
    /// context in `meta`, where every client that receives them sees it.
    pub fn trace_context(mut self, context: impl TraceContext) -> Self {
        self.settings.observation.traces = Traces::new(context);
        self
    }
}
