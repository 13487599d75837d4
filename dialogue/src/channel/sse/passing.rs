//! Failures that pass, to browsers: a stream that only says when to come back.
//!
//! A native `EventSource` gives up for good at any status but 200 (WHATWG HTML, section 9.2.3), so that a full room or
//! a restart would cost it the stream.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header::ACCEPT};

use super::{HEADERS, stream::retry};
use crate::{
    Code, Refusal,
    engine::{Engine, spread_ms},
    wire::{Encoding, frame},
};

/// The stream that answers a request for one which fails now and may not later; `None` where the failure is final, or
/// the client doesn't ask for a stream by name.
pub(super) fn passing(engine: &Engine, headers: &HeaderMap, refusal: &Refusal) -> Option<Response> {
    let passes =
        matches!(refusal.code, Code::Unavailable | Code::RateLimited | Code::TooMany | Code::RoomFull);
    if !passes || !asks_for_a_stream(headers) {
        return None;
    }
    let mut body = Vec::new();
    if engine.drain.is_on() {
        let after_ms = spread_ms();
        let reconnect = frame::Frame::new("reconnect", None, frame::Reconnect { after_ms }).encode();
        body.extend_from_slice(format!("retry: {after_ms}\n").as_bytes());
        Encoding::Sse.put_frame(&mut body, "reconnect", &reconnect);
    } else {
        let after = refusal.retry_after.unwrap_or_default() + retry();
        let error = frame::Frame::new("error", None, frame::Error::from(refusal)).encode();
        body.extend_from_slice(format!("retry: {}\n", after.as_millis()).as_bytes());
        Encoding::Sse.put_frame(&mut body, "error", &error);
    }
    let mut response = (HEADERS, body).into_response();
    // The layer that counts refusals reads it.
    response.extensions_mut().insert(refusal.code);
    Some(response)
}

/// Returns whether `Accept` names event streams themselves; every client sends `*/*`.
fn asks_for_a_stream(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"));
        let unwanted = |part: &str| {
            part.split_once('=')
                .is_some_and(|(name, q)| name.trim().eq_ignore_ascii_case("q") && q.trim().parse() == Ok(0.0))
        };
        named && !parts.any(unwanted)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_stream_is_asked_for_by_its_name() {
        let asks = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT, HeaderValue::from_static(line));
            }
            asks_for_a_stream(&headers)
        };
        for named in ["text/event-stream", "Text/Event-Stream;q=0.5", "application/json, text/event-stream"] {
            assert!(asks(&[named]) && asks(&["text/html", named]), "{named}");
        }
        for other in ["*/*", "text/*", "application/json", "text/event-stream;q=0", "text/event-streams", ""]
        {
            assert!(!asks(&[other]), "{other}");
        }
        assert!(!asks(&[]));
    }
}
