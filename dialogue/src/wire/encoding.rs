//! How a frame stands in the bytes of a channel.

use bytes::Bytes;

/// What a reader's bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Unmasked text frames (RFC 6455, section 5.2), one a JSON frame.
    WebSocket,
    /// Blocks of an event stream (WHATWG HTML, section 9.2.6).
    Sse,
}

impl Encoding {
    /// Appends a frame that is no event: a reply, a notice.
    pub(crate) fn put_frame(self, out: &mut Vec<u8>, kind: &str, json: &[u8]) {
        match self {
            Encoding::WebSocket => {
                put_text_header(out, json.len());
                out.extend_from_slice(json);
            }
            Encoding::Sse => {
                put_field(out, "event: dialogue:", kind.as_bytes());
                put_data(out, json);
            }
        }
    }

    /// A probe of whether the client is still there: a ping (RFC 6455, section 5.5.2), or a comment, which means
    /// nothing.
    pub(crate) fn probe(self) -> Bytes {
        Bytes::from_static(match self {
            Encoding::WebSocket => &[0x89, 0],
            Encoding::Sse => b": ping\n\n",
        })
    }

    /// Appends an event, without the `id:` line that an event stream has before it.
    pub(crate) fn put_event(self, out: &mut Vec<u8>, name: &str, json: &[u8]) {
        match self {
            Encoding::WebSocket => {
                put_text_header(out, json.len());
                out.extend_from_slice(json);
            }
            Encoding::Sse => {
                put_field(out, "event: ", name.as_bytes());
                put_data(out, json);
            }
        }
    }
}

/// Appends the line that a stream is resumed by.
pub(crate) fn put_id(out: &mut Vec<u8>, id: &[u8]) {
    put_field(out, "id: ", id);
}

/// What a position is called in an event stream: `chat=k2f9.42.EVENTID`. Everything else is percent-encoded.
pub(crate) fn stream_position(room_id: &str, epoch: &str, seq: u64, event_id: &str) -> String {
    use std::fmt::Write;

    let mut out = String::with_capacity(room_id.len() + epoch.len() + event_id.len() + 16);
    for byte in room_id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b':') {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    let _ = write!(out, "={epoch}.{seq}.{event_id}");
    out
}

fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// JSON has no raw newline, so that one line holds it.
fn put_data(out: &mut Vec<u8>, json: &[u8]) {
    put_field(out, "data: ", json);
    out.push(b'\n');
}

fn put_text_header(out: &mut Vec<u8>, len: usize) {
    const FINAL_TEXT: u8 = 0x81;
    out.push(FINAL_TEXT);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&u64::try_from(len).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_frames_have_the_shortest_header() {
        for (len, header) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xff, 0xff]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let (mut out, json) = (Vec::new(), vec![b' '; len]);
            Encoding::WebSocket.put_frame(&mut out, "reply", &json);
            assert_eq!(out.strip_prefix(header), Some(json.as_slice()), "{len}");
        }
    }

    #[test]
    fn a_notice_is_a_block_of_a_stream() {
        let mut out = Vec::new();
        Encoding::Sse.put_frame(&mut out, "skipped", b"{}");
        assert_eq!(out, b"event: dialogue:skipped\ndata: {}\n\n");
    }

    #[test]
    fn a_position_holds_nothing_that_separates_positions() {
        let position = stream_position("chat:a=b;c.d\u{e9}/%", "k2", 7, "x_-");
        assert_eq!(position, "chat:a%3Db%3Bc%2Ed%C3%A9%2F%25=k2.7.x_-");
    }
}
