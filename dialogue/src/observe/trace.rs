//! Distributed traces by [W3C Trace Context](https://www.w3.org/TR/trace-context/): the server's spans continue the
//! traces of requests, and events carry a `traceparent` in their `meta` to clients and other nodes.

use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

use http::HeaderMap;
use serde_json::value::RawValue;
use tracing::Span;

use super::spans;
use crate::cluster::backplane::FeedEvents;

/// The position in a trace, as the `traceparent` of [W3C Trace Context](https://www.w3.org/TR/trace-context/): such as
/// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceParent(Box<str>);

/// Connects the server's `tracing` spans to distributed traces: the propagator between this library and a tracing
/// system.
///
/// The server makes spans with the crate `tracing`: `connection`, `trigger`, `delivery`, `store`, `backplane`, `push`.
/// Without a trace context each starts a trace of its own. With one, a connection continues the trace of the
/// `traceparent` header of its handshake, and an event over HTTP that of its request; each event then carries its own
/// `traceparent` in its `meta`, to other nodes and to clients. That needs a subscriber which enables the target
/// `dialogue::spans` at the level `debug`.
///
/// `examples/opentelemetry` implements it for OpenTelemetry in some ten lines.
pub trait TraceContext: Send + Sync + 'static {
    /// Sets the parent of `span`, which has not been entered yet.
    fn set_parent(&self, span: &Span, parent: &TraceParent);

    /// Returns the `traceparent` for children of `span` in other processes, or `None` if `span` isn't traced.
    fn traceparent(&self, span: &Span) -> Option<TraceParent>;
}

/// The trace context of a server; does nothing if the application has set none.
#[derive(Clone, Default)]
pub(crate) struct Traces(Option<Arc<dyn TraceContext>>);

/// The name of the HTTP header, and of the member of an event's `meta`.
const NAME: &str = "traceparent";

impl TraceParent {
    /// Returns the value of the header.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the trace parent in a request's headers, if there is a valid one.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        headers.get(NAME)?.to_str().ok()?.parse().ok()
    }

    /// Returns the trace parent in an event's `meta`, if there is a valid one.
    pub(crate) fn from_meta(meta: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Meta {
            traceparent: Option<String>,
        }
        serde_json::from_str::<Meta>(meta).ok()?.traceparent?.parse().ok()
    }
}

impl FromStr for TraceParent {
    type Err = ParseTraceParentError;

    /// Parses version 00, and the fields of version 00 in later versions, as section 4.3 of the recommendation asks
    /// for.
    fn from_str(text: &str) -> Result<Self, ParseTraceParentError> {
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_nonzero = |text: &str| hex(text) && text.bytes().any(|byte| byte != b'0');
        let mut parts = text.trim().splitn(5, '-');
        let mut part =
            |length: usize| parts.next().filter(|part| part.len() == length).ok_or(ParseTraceParentError(()));
        let (version, trace, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let more = parts.next().is_some();
        let is_known = hex(version) && version != "ff" && !(version == "00" && more);
        if !is_known || !is_nonzero(trace) || !is_nonzero(parent) || !hex(flags) {
            return Err(ParseTraceParentError(()));
        }
        Ok(TraceParent(format!("00-{trace}-{parent}-{flags}").into()))
    }
}

/// The error of parsing a [`TraceParent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseTraceParentError(());

impl fmt::Display for ParseTraceParentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a traceparent is `00-TRACE-PARENT-FLAGS` with 32, 16 and 2 hexadecimal digits, none all zeros but the flags")
    }
}

impl std::error::Error for ParseTraceParentError {}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceParent({})", self.0)
    }
}

impl Traces {
    pub(crate) fn new(context: impl TraceContext) -> Self {
        Traces(Some(Arc::new(context)))
    }

    /// Sets the parent of `span`, if both are there.
    pub(crate) fn set_parent(&self, span: &Span, parent: Option<&TraceParent>) {
        let (Some(context), Some(parent)) = (&self.0, parent) else { return };
        if !span.is_disabled() {
            context.set_parent(span, parent);
        }
    }

    /// Returns spans for the traced events that a feed brings from another node, to be kept until the events are
    /// delivered.
    pub(crate) fn delivery_spans(&self, room: &'static str, received: &FeedEvents) -> Vec<Span> {
        if self.0.is_none() {
            return Vec::new();
        }
        let traced = received.events.iter().filter_map(|event| {
            let parent = event.meta.as_deref().and_then(TraceParent::from_meta)?;
            let span = spans::delivery(room, &received.room_id, event);
            self.set_parent(&span, Some(&parent));
            Some(span)
        });
        traced.collect()
    }

    /// Returns an event's `meta` with the `traceparent` of its span, unless its sender has set one.
    pub(crate) fn inject(&self, span: &Span, meta: Option<Box<str>>) -> Option<Box<str>> {
        let Some(context) = self.0.as_ref().filter(|_| !span.is_disabled()) else { return meta };
        let Some(parent) = context.traceparent(span) else { return meta };
        let own = meta.as_deref().unwrap_or("{}");
        with_traceparent(own, &parent).map(Into::into).or(meta)
    }
}

/// Appends the trace parent to the text of a JSON object; `None` if it has one, or isn't an object. The other members
/// keep their text: parsing and encoding them again could change numbers.
fn with_traceparent(object: &str, parent: &TraceParent) -> Option<String> {
    let members: HashMap<String, &RawValue> = serde_json::from_str(object).ok()?;
    if members.contains_key(NAME) {
        return None;
    }
    let begin = object.trim_end().strip_suffix('}')?;
    let comma = if members.is_empty() { "" } else { "," };
    Some(format!("{begin}{comma}\"{NAME}\":\"{parent}\"}}"))
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(text: &str) -> Option<String> {
        text.parse().ok().map(|parent: TraceParent| parent.to_string())
    }

    #[test]
    fn a_valid_trace_parent_is_parsed() {
        assert_eq!(read(PARENT).as_deref(), Some(PARENT));
        assert_eq!(read(&format!(" {PARENT} ")).as_deref(), Some(PARENT));
        assert_eq!(read(&format!("cc{}-what-the-future-holds", &PARENT[2..])).as_deref(), Some(PARENT));
    }

    #[test]
    fn an_invalid_trace_parent_is_refused() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_members_of_meta_keep_their_text() {
        let parent: TraceParent = PARENT.parse().expect("one");
        let injected = |meta: &str| with_traceparent(meta, &parent);
        let at_the_end = format!(r#"{{"b":12345678901234567890123,"a":1.50,"traceparent":"{PARENT}"}}"#);
        assert_eq!(injected(r#"{"b":12345678901234567890123,"a":1.50}"#), Some(at_the_end));
        assert_eq!(injected("{ }"), Some(format!(r#"{{ "traceparent":"{PARENT}"}}"#)));
        assert_eq!((injected(r#"{"traceparent":"7"}"#), injected("[]")), (None, None));
    }

    #[test]
    fn a_valid_trace_parent_is_read_from_meta() {
        let of = |meta: &str| TraceParent::from_meta(meta).map(|parent| parent.to_string());
        assert_eq!(of(&format!(r#"{{"a":1,"traceparent":"{PARENT}"}}"#)).as_deref(), Some(PARENT));
        assert_eq!(of(r#"{"traceparent":"7"}"#), None);
        assert_eq!(of(r#"{"traceparent":7}"#), None);
        assert_eq!(of("{}"), None);
    }
}
