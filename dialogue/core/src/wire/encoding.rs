//! The encodings of frames: the bytes of a WebSocket and of an event stream.

use crate::wire::frame::EncodedFrame;
use bytes::Bytes;

/// The encoding of a connection's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Unmasked text frames (RFC 6455, section 5.2), each of which holds one JSON frame.
    WebSocket,
    /// Blocks of an event stream (WHATWG HTML, section 9.2.6).
    Sse,
}

impl Encoding {
    /// Appends a frame other than an event: a reply or a notice.
    pub fn put_frame(self, out: &mut Vec<u8>, frame: &EncodedFrame) {
        match self {
            Encoding::WebSocket => {
                put_text_header(out, frame.json.len());
                out.extend_from_slice(&frame.json);
            }
            Encoding::Sse => {
                put_field(out, "event: dialogue:", frame.kind.as_bytes());
                put_data(out, &frame.json);
            }
        }
    }

    /// Returns the bytes of a frame other than an event.
    pub fn frame(self, frame: &EncodedFrame) -> Bytes {
        let mut bytes = Vec::with_capacity(frame.json.len() + 48);
        self.put_frame(&mut bytes, frame);
        bytes.into()
    }

    /// Returns the bytes that probe whether the client is alive: a ping (RFC 6455, section 5.5.2), or a comment, which
    /// clients ignore.
    pub fn probe(self) -> Bytes {
        Bytes::from_static(match self {
            Encoding::WebSocket => &[0x89, 0],
            Encoding::Sse => b": ping\n\n",
        })
    }

    /// Appends an event, without the `id:` line that precedes it in an event stream ([`put_id`]).
    pub fn put_event(self, out: &mut Vec<u8>, name: &str, json: &[u8]) {
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

/// Appends an `id:` line, which a browser sends back as `Last-Event-ID` when it resumes the stream.
pub fn put_id(out: &mut Vec<u8>, id: &[u8]) {
    put_field(out, "id: ", id);
}

/// Returns a position as it is written in an event stream, `chat=k2f9.42.EVENTID`, with other characters
/// percent-encoded.
pub fn stream_position(room_id: &str, epoch: &str, seq: u64, event_id: &str) -> String {
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

/// Appends JSON as one `data:` line, since compact JSON has no raw newline, and the blank line that ends the block.
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
            Encoding::WebSocket.put_frame(&mut out, &frame("reply", &json));
            assert_eq!(out.strip_prefix(header), Some(json.as_slice()), "{len}");
        }
    }

    fn frame(kind: &'static str, json: &[u8]) -> EncodedFrame {
        EncodedFrame { kind, json: json.to_vec() }
    }

    #[test]
    fn a_notice_is_a_block_of_a_stream() {
        let mut out = Vec::new();
        Encoding::Sse.put_frame(&mut out, &frame("skipped", b"{}"));
        assert_eq!(out, b"event: dialogue:skipped\ndata: {}\n\n");
    }

    #[test]
    fn a_position_holds_nothing_that_separates_positions() {
        let position = stream_position("chat:a=b;c.d\u{e9}/%", "k2", 7, "x_-");
        assert_eq!(position, "chat:a%3Db%3Bc%2Ed%C3%A9%2F%25=k2.7.x_-");
    }
}
