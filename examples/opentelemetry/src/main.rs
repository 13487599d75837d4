//! A chat whose spans go to OpenTelemetry: `cargo run -p opentelemetry`, beside a collector that takes OTLP over HTTP
//! at `OTEL_EXPORTER_OTLP_ENDPOINT` (`http://127.0.0.1:4318` by default).
//!
//! Needs a C compiler (`apt install gcc` on Debian), which the crate `ring` is built with, and a collector to send to.
//!
//! ```sh
//! curl -d '{"text":"hi"}' -H 'content-type: application/json' \
//!   -H 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' \
//!   http://127.0.0.1:3000/rooms/chat/events/message
//! ```
//!
//! puts a span `trigger` into the trace that the header names; other instances, and whoever else gets the event, find in its
//! `meta` what to go on from.

mod context;
#[cfg(test)]
mod tests;

use std::env;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use context::OpenTelemetry;

/// Said by a member.
#[dialogue::event]
#[derive(Debug)]
pub struct Message {
    /// What is said.
    #[validate(length(min = 1, max = 2000))]
    pub text: String,
}

dialogue::rooms! {
    /// The rooms of the example.
    pub struct Traced;

    /// Where everybody talks.
    chat: [Message] via [websocket, sse];
}

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> Result {
    let endpoint = env::var("OTEL_EXPORTER_OTLP_ENDPOINT");
    // It blocks a thread of its own, and is made outside of the runtime for that.
    let provider = exporter(&endpoint.unwrap_or_else(|_| "http://127.0.0.1:4318".to_owned()))?;
    let served = serve(&provider);
    // What is still to be sent is sent.
    provider.shutdown()?;
    served
}

#[tokio::main]
async fn serve(provider: &SdkTracerProvider) -> Result {
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("dialogue"));
    tracing_subscriber::registry().with(wanted()).with(spans).init();

    let server = Traced::server().trace_context(OpenTelemetry).build().await?;
    let app = axum::Router::new().merge(server.router());
    println!("http://127.0.0.1:3000");
    server.serve(app, "127.0.0.1:3000").await?;
    Ok(())
}

/// A span for each event, too.
fn wanted() -> Targets {
    Targets::new().with_default(LevelFilter::INFO).with_target("dialogue::spans", LevelFilter::DEBUG)
}

/// Sends spans to a collector, in batches.
fn exporter(endpoint: &str) -> Result<SdkTracerProvider> {
    // Dialogue's pushes leave the choice to the program. Who chose before has chosen.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_protocol(Protocol::HttpJson)
        .build()?;
    let service = Resource::builder().with_service_name("dialogue-example").build();
    Ok(SdkTracerProvider::builder().with_resource(service).with_batch_exporter(exporter).build())
}
