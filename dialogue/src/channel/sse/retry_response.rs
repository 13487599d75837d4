//! The response of a stream that is refused for now: status 200 and an event stream that only sets the time of the
//! retry.
//!
//! A browser's `EventSource` fails permanently at any other status (WHATWG HTML, section 9.2.3), so that a full room or
//! a restart would end it for good.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header::ACCEPT};

use super::{HEADERS, stream::retry_delay};
use crate::{
    Code, Refusal,
    drain::reconnect_delay_ms,
    engine::Engine,
    wire::{
        Encoding,
        frame::{self, ServerFrame},
    },
};

/// Returns the stream that sets the time of the retry, if the refusal is temporary and the client asks for an event
/// stream by name.
pub(super) fn retry_response(engine: &Engine, headers: &HeaderMap, refusal: &Refusal) -> Option<Response> {
    let is_temporary =
        matches!(refusal.code, Code::Unavailable | Code::RateLimited | Code::TooMany | Code::RoomFull);
    if !is_temporary || !accepts_event_stream(headers) {
        return None;
    }
    let mut body = Vec::new();
    if engine.drain.is_on() {
        let after_ms = reconnect_delay_ms();
        body.extend_from_slice(format!("retry: {after_ms}\n").as_bytes());
        Encoding::Sse.put_frame(&mut body, &frame::Reconnect { after_ms }.encode(None));
    } else {
        let after = refusal.retry_after.unwrap_or_default() + retry_delay();
        body.extend_from_slice(format!("retry: {}\n", after.as_millis()).as_bytes());
        Encoding::Sse.put_frame(&mut body, &frame::Error::from(refusal).encode(None));
    }
    let mut response = (HEADERS, body).into_response();
    // The layer that counts refusals reads it.
    response.extensions_mut().insert(refusal.code);
    Some(response)
}

/// Returns whether `Accept` lists `text/event-stream` itself. A wildcard doesn't count, as clients of all kinds send
/// `*/*`.
fn accepts_event_stream(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"));
        let is_refused = |part: &str| {
            part.split_once('=')
                .is_some_and(|(name, q)| name.trim().eq_ignore_ascii_case("q") && q.trim().parse() == Ok(0.0))
        };
        named && !parts.any(is_refused)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_media_type_itself_counts_as_accepted() {
        let accepts = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT, HeaderValue::from_static(line));
            }
            accepts_event_stream(&headers)
        };
        for named in ["text/event-stream", "Text/Event-Stream;q=0.5", "application/json, text/event-stream"] {
            assert!(accepts(&[named]) && accepts(&["text/html", named]), "{named}");
        }
        for other in ["*/*", "text/*", "application/json", "text/event-stream;q=0", "text/event-streams", ""]
        {
            assert!(!accepts(&[other]), "{other}");
        }
        assert!(!accepts(&[]));
    }
}
