//! What a request is part of, as W3C Trace Context has it, over connections, events and instances.

use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

use http::HeaderMap;
use serde_json::value::RawValue;
use tracing::Span;

use super::spans;
use crate::backplane::FeedEvents;

/// Where a trace has got to: a `traceparent` as [W3C Trace Context](https://www.w3.org/TR/trace-context/) writes it, such as
/// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceParent(Box<str>);

/// Joins the server's spans to traces that others have begun, and lets others go on from them.
///
/// The server makes spans with the crate `tracing`: `connection`, `trigger`, `delivery`, `store`, `backplane`, `push`. By
/// themselves they begin at this process. With this, a connection goes on from the `traceparent` of its handshake, an event over HTTP
/// from that of its request; and each event carries its own in `meta`, to other instances and to clients, under the same
/// name: where a subscriber takes its span, which is of the level `debug`, under the target `dialogue::spans`.
///
/// `examples/opentelemetry` has one for OpenTelemetry, some ten lines.
pub trait TraceContext: Send + Sync + 'static {
    /// `span`, which nobody has entered yet, goes on from `parent`.
    fn continues(&self, span: &Span, parent: &TraceParent);

    /// What goes on from `span` says as its parent; `None` if it isn't traced.
    fn parent_of(&self, span: &Span) -> Option<TraceParent>;
}

/// That of a server, if the application has one.
#[derive(Clone, Default)]
pub(crate) struct Traces(Option<Arc<dyn TraceContext>>);

/// The header, and the member of `meta`.
const NAME: &str = "traceparent";

impl TraceParent {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a request says of itself.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(NAME)?.to_str().ok()?.parse().ok()
    }

    /// What an event's `meta` says of it.
    pub(crate) fn in_meta(meta: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Meta {
            traceparent: Option<String>,
        }
        serde_json::from_str::<Meta>(meta).ok()?.traceparent?.parse().ok()
    }
}

impl FromStr for TraceParent {
    type Err = NotTraced;

    /// Takes version 00, and what it has of later ones.
    fn from_str(text: &str) -> Result<Self, NotTraced> {
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let told = |text: &str| hex(text) && text.bytes().any(|byte| byte != b'0');
        let mut parts = text.trim().splitn(5, '-');
        let mut part = |length: usize| parts.next().filter(|part| part.len() == length).ok_or(NotTraced(()));
        let (version, trace, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let more = parts.next().is_some();
        let is_one = hex(version) && version != "ff" && !(version == "00" && more);
        if !is_one || !told(trace) || !told(parent) || !hex(flags) {
            return Err(NotTraced(()));
        }
        Ok(TraceParent(format!("00-{trace}-{parent}-{flags}").into()))
    }
}

/// A text is no [`TraceParent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTraced(());

impl fmt::Display for NotTraced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a traceparent is `00-TRACE-PARENT-FLAGS` with 32, 16 and 2 hexadecimal digits, none all zeros but the flags")
    }
}

impl std::error::Error for NotTraced {}

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

    /// `span` goes on from `parent`.
    pub(crate) fn continues(&self, span: &Span, parent: Option<&TraceParent>) {
        let (Some(context), Some(parent)) = (&self.0, parent) else { return };
        if !span.is_disabled() {
            context.continues(span, parent);
        }
    }

    /// What other instances put into a room goes on from what they did: spans to be kept until it is delivered.
    pub(crate) fn heard(&self, room: &'static str, told: &FeedEvents) -> Vec<Span> {
        if self.0.is_none() {
            return Vec::new();
        }
        let traced = told.events.iter().filter_map(|event| {
            let parent = event.meta.as_deref().and_then(TraceParent::in_meta)?;
            let span = spans::heard(room, &told.room_id, event);
            self.continues(&span, Some(&parent));
            Some(span)
        });
        traced.collect()
    }

    /// An event's `meta`, in which those that it reaches find what to go on from; what its sender says of that itself stays.
    pub(crate) fn carry(&self, span: &Span, meta: Option<Box<str>>) -> Option<Box<str>> {
        let Some(context) = self.0.as_ref().filter(|_| !span.is_disabled()) else { return meta };
        let Some(parent) = context.parent_of(span) else { return meta };
        let own = meta.as_deref().unwrap_or("{}");
        beside(own, &parent).map(Into::into).or(meta)
    }
}

/// A JSON object with the parent as another member; `None` if it has one, or is no object. What its sender put there stays as
/// it was written.
fn beside(object: &str, parent: &TraceParent) -> Option<String> {
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
    fn what_the_standard_allows_is_read() {
        assert_eq!(read(PARENT).as_deref(), Some(PARENT));
        assert_eq!(read(&format!(" {PARENT} ")).as_deref(), Some(PARENT));
        assert_eq!(read(&format!("cc{}-what-the-future-holds", &PARENT[2..])).as_deref(), Some(PARENT));
    }

    #[test]
    fn what_it_forbids_is_not() {
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
    fn what_a_sender_put_into_meta_stays_as_it_was() {
        let parent: TraceParent = PARENT.parse().expect("one");
        let carried = |meta: &str| beside(meta, &parent);
        let at_the_end = format!(r#"{{"b":12345678901234567890123,"a":1.50,"traceparent":"{PARENT}"}}"#);
        assert_eq!(carried(r#"{"b":12345678901234567890123,"a":1.50}"#), Some(at_the_end));
        assert_eq!(carried("{ }"), Some(format!(r#"{{ "traceparent":"{PARENT}"}}"#)));
        assert_eq!((carried(r#"{"traceparent":"7"}"#), carried("[]")), (None, None));
    }

    #[test]
    fn meta_tells_of_a_trace_if_it_is_one() {
        let of = |meta: &str| TraceParent::in_meta(meta).map(|parent| parent.to_string());
        assert_eq!(of(&format!(r#"{{"a":1,"traceparent":"{PARENT}"}}"#)).as_deref(), Some(PARENT));
        assert_eq!(of(r#"{"traceparent":"7"}"#), None);
        assert_eq!(of(r#"{"traceparent":7}"#), None);
        assert_eq!(of("{}"), None);
    }
}
